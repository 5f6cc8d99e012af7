# A secret that a store has already comes to rotor with its value, without being rotated; what it holds beside user name and
# password stays, also when it is rotated later, and when a worker is killed meanwhile. A value that is not the account's, or
# not any more, is refused, and nothing is changed.
use strict;
use warnings;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use RotorOutside;
use Test::More;

my $aws = start_peer('moto');
plan skip_all => 'no moto_server (MOTO_SERVER says where it is)' if $aws->{missing};
my $node = new_cluster('control', preload => 1, conf => "rotor.poll_interval = '200ms'\n");
my $password_file = write_password($node);
my $value = sql($node, q{SELECT rotor.generate_password('compat')});
my %met   = ($value => 1);

sql($node, "CREATE ROLE app LOGIN PASSWORD '$value'");
sql($node, 'CREATE ROLE plain LOGIN');
sql($node, qq(INSERT INTO rotor.store (name, type, options) VALUES ('aws', 'aws', '{"endpoint": "http://127.0.0.1:$aws->{port}", "region": "eu-central-1"}')));
add_outside_policy($node, 'quick');
sql($node, q{SELECT rotor.manage('app', policy => 'quick', store => 'aws', options => '{"key": "apps/app"}')});
sql($node, q{SELECT rotor.manage('plain')});

# Runs rotor set; (what it printed, the status).
sub set
{
	my (@arguments) = @_;
	my ($out, $err) = ('', '');
	local %ENV = (%ENV, credentials_of(aws => $aws));

	IPC::Run::run([ the_program(), 'set', @arguments, '--config=/dev/null', '--control-host=' . $node->host, '--control-port=' . $node->port,
		'--control-user=postgres' ], '<', \undef, '>', \$out, '2>', \$err);
	my $status = $? >> 8;
	is(scalar(grep { index("$out$err", $_) >= 0 } keys %met), 0, 'it prints no value');
	return ("$out$err", $status);
}

# The version that rotor has as current; '' if there is none.
sub current_version
{
	my ($secret) = @_;
	return sql($node, qq(SELECT coalesce((SELECT v.id::text FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id
		WHERE s.name = '$secret' AND s.deleted_at IS NULL AND v.stage = 'current'), '')));
}

sub is_refused
{
	my ($secret, $why, $name) = @_;
	my $before = current_version($secret);
	my ($said, $status) = set('--from-store', $secret);

	like($said, $why, "$name: it is refused");
	is($status, 1, "$name: which is a failure");
	is(current_version($secret), $before, "$name: what is current stays so");
}

sub is_adopted
{
	my ($secret, $name) = @_;
	is(join(' ', set('--from-store', $secret)), "adopted\n 0", $name);
}

sub new_value
{
	my $new = sql($node, q{SELECT rotor.generate_password('compat')});
	$met{$new} = 1;
	return $new;
}

# A secret of AWS's own; the version's uuid.
sub put_in_aws
{
	my ($key, $content) = @_;
	my $uuid = sql($node, 'SELECT gen_random_uuid()');

	is(ask_aws($aws, 'CreateSecret', Name => $key, ClientRequestToken => $uuid, SecretString => $content)->{status}, 200, "given a secret at AWS: $key");
	return $uuid;
}

sub write_file
{
	my ($path, $text) = @_;
	open my $out, '>', $path or die "$path: $!";
	print $out $text;
	close $out;
	chmod 0600, $path;
}

#---------------------------------------------------------------------------------------------------------------------
# A role of this cluster, at AWS

is_refused('app', qr/^rotor set: ./, 'a secret that is not at the store');

my $uuid = put_in_aws('apps/app', qq({"username": "app", "password": "$value", "host": "db.example.org", "limit": 12345678901234567890, "note": ["kept"]}));
is_adopted('app', 'it is adopted');
ok(current_password($node, 'app') eq $value, 'rotor knows its value');
logs_in($node, 'app', $value, 'which logs in');
is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'app'}), '0', 'nothing was rotated');
is((published_in_aws($aws, 'apps/app'))[0], $uuid, 'AWS has the version that it had');
like(sql($node, q{SELECT string_agg(event, ' ') FROM rotor.audit_log WHERE secret = 'app'}), qr/\bvalue_adopted\b/, 'the audit tells of it');

my $worker = start_worker('worker', 'control-port' => $node->port, 'password-file' => $password_file, environment => { credentials_of(aws => $aws) });
rotate_ok($node, 'app', 'then it is rotated');
my $answer = ask_aws($aws, 'GetSecretValue', SecretId => 'apps/app', VersionStage => 'AWSCURRENT');
ok((published_in_aws($aws, 'apps/app'))[1] eq current_password($node, 'app'), 'AWS has the new value');
# Not by like(), which would show it.
ok($answer->{SecretString} =~ /"limit"\s*:\s*12345678901234567890\b/, 'and a number that no double holds');
ok($answer->{SecretString} =~ /"note"\s*:\s*\[\s*"kept"\s*\]/, 'and what else there was');
is((published_in_aws($aws, 'apps/app', 'AWSPREVIOUS'))[0], $uuid, 'the version that was adopted is the previous one');
is(end_worker($worker), 0, 'the worker ends as it should');

put_in_aws('apps/somebody', '{"username": "somebody", "password": "else"}');
put_in_aws('apps/text', 'text');
put_in_aws('apps/wrong', '{"username": "app", "password": "wrong"}');
for my $case ([ 'somebody', qr/another account/ ], [ 'text', qr/no JSON object/ ], [ 'wrong', qr/does not have this password/ ])
{
	my ($key, $why) = @$case;
	sql($node, qq(SELECT rotor.manage('app', policy => 'quick', store => 'aws', options => '{"key": "apps/$key"}')));
	is_refused('app', $why, "what is not the role's: $key");
}
is_refused('plain', qr/no store outside/, 'what is in no store outside');
is_refused('nobody', qr/^rotor set: ./, 'a secret that there is not');

#---------------------------------------------------------------------------------------------------------------------
# The first rotation finds a version of somebody else's as current, also if a worker is killed in step finish

my $gate = request_gate($aws->{port});
my @workers;

sub next_worker
{
	push @workers, start_worker('worker_' . @workers, 'control-port' => $node->port, 'password-file' => $password_file, 'concurrency' => 1,
		'act-timeout' => '1min', environment => { credentials_of(aws => $aws) });
}

# False if the rotation has no request of that number.
sub kill_at
{
	my ($when, $number) = @_;
	my $name = "${when} request ${number}";
	my $role = "killed_${when}_${number}";
	my $own  = new_value();

	sql($node, "CREATE ROLE $role LOGIN PASSWORD '$own'");
	sql($node, qq(SELECT rotor.manage('$role', policy => 'quick', store => 'gated')));
	put_in_aws($role, qq({"username": "$role", "password": "$own"}));
	is_adopted($role, "$name: adopted");
	my $plan = hold_request($gate, $when, $number);
	my $id = sql($node, "SELECT id FROM rotor.rotate('$role', wait => false)");
	my $ends = sub { sql($node, "SELECT finished_at IS NOT NULL FROM rotor.rotations WHERE id = '$id'") eq 't' };
	poll_until(sub { is_held($gate, $plan) || $ends->() }) or die "$name: neither held nor done: " . unfinished($node);
	return 0 unless is_held($gate, $plan);
	is(sql($node, "SELECT step FROM rotor.rotations WHERE id = '$id'"), 'finish', "$name: it is one of finish");
	kill_worker($workers[-1]);
	end_lease($node, $id);
	next_worker();
	ok(poll_until($ends), "$name: another worker takes over") or diag(unfinished($node));
	is(sql($node, "SELECT status FROM rotor.rotations WHERE id = '$id'"), 'success', "$name: the rotation succeeds");
	is((published_in_aws($aws, $role))[0], current_version($role), "$name: the store has what rotor has");
	my $current = current_password($node, $role);
	$met{$current} = 1;
	logs_in($node, $role, $current, "$name: which logs in");
	return 1;
}

sql($node, qq(INSERT INTO rotor.store (name, type, options) VALUES ('gated', 'aws', '{"endpoint": "http://127.0.0.1:$gate->{port}", "region": "eu-central-1"}')));
next_worker();
# Publishing takes three requests.
my $number = 4;
$number++ while kill_at('before', $number) && kill_at('after', $number);
cmp_ok($number, '>', 6, 'that were all requests of finish');
is(end_worker($workers[-1]), 0, 'the last worker ends as it should');
stop_listener($gate);
stop_peer($aws);

#---------------------------------------------------------------------------------------------------------------------
# A role of another server: its value stands in a password file of libpq, and must log in

my $target = new_cluster('target', extension => 0);
my $pgpass = PostgreSQL::Test::Utils::tempdir('pgpass') . '/pgpass';
my $far    = new_value();
my $line   = '127.0.0.1:' . $target->port . ':postgres:far:';

sql($target, "CREATE ROLE far LOGIN PASSWORD '$far'");
add_target($node, 'second', port => $target->port);
sql($node, qq(INSERT INTO rotor.store (name, type, options) VALUES ('lines', 'file', '{"path": "$pgpass", "format": "pgpass"}')));
sql($node, q{SELECT rotor.manage('far', policy => 'quick', target => 'second', store => 'lines')});
my $wrong = new_value();
write_file($pgpass, "$line$wrong\n");
is_refused('far', qr/not proved at target "second".*password authentication failed/s, 'a value that does not log in');
write_file($pgpass, "$line$far\n");
is_adopted('far', 'one that does is adopted');
ok(current_password($node, 'far') eq $far, 'rotor knows it');
write_file($pgpass, "$line$wrong\n");
is_refused('far', qr/password authentication failed/, 'a value that does not log in, beside one that is current');
write_file($pgpass, "$line$far\n");
$target->stop;
is_refused('far', qr/not proved at target "second"/, 'a value that cannot be tried');
$target->start;
my $last = start_worker('last', 'control-port' => $node->port, 'password-file' => $password_file);
rotate_ok($node, 'far', 'then it is rotated by itself');
$far = current_password($node, 'far');
$met{$far} = 1;
# A colon or a backslash of a generated value stands behind a backslash there.
ok(slurp_file($pgpass) eq $line . ($far =~ s/([:\\])/\\$1/gr) . "\n", 'and the line has the new value');
is(end_worker($last), 0, 'the worker ends as it should');

#---------------------------------------------------------------------------------------------------------------------
# What the store said is out of date by the time that it is adopted

my $folder = PostgreSQL::Test::Utils::tempdir('race');
my ($first, $second) = (new_value(), new_value());
my $program = the_program();
my $host = $node->host;
my $port = $node->port;

write_file("$folder/second", $second);
write_file("$folder/secrets.json", qq({"racing": {"current": {"username": "racing", "password": "$first"}}}));
# Every value is right at this target, and while one is tried, another one becomes current.
write_file("$folder/login", <<"SH");
#!/bin/sh
/bin/cat >/dev/null
[ ! -e $folder/race ] || $program set --adopt racing --config=/dev/null --control-host=$host --control-port=$port --control-user=postgres <$folder/second >/dev/null
SH
chmod 0700, "$folder/login";
sql($node, qq(INSERT INTO rotor.target (name, type, options) VALUES ('program', 'command', '{"command": ["$folder/login"]}')));
sql($node, qq(INSERT INTO rotor.store (name, type, options) VALUES ('file', 'file', '{"path": "$folder/secrets.json"}')));
sql($node, q{SELECT rotor.manage('racing', policy => 'quick', target => 'program', store => 'file')});
write_file("$folder/race", '');
for my $name ('before there was a value', 'and after')
{
	my ($said, $status) = set('--from-store', 'racing');
	like($said, qr/another value meanwhile/, "$name: what came between is met");
	is($status, 1, "$name: it is refused");
	ok(current_password($node, 'racing') eq $second, "$name: and stays current");
}
unlink "$folder/race";
is_adopted('racing', 'with nothing between it is adopted');
ok(current_password($node, 'racing') eq $first, 'and current');

# The servers' own logs have the statements that made the roles here.
no_password_in(\%met, map { $_->{log} } @workers, $worker, $last);
no_crash_in($_) for $node, $target;
done_testing();
