# A secret that AWS Secrets Manager has already comes to rotor with its value, without being rotated; what it holds beside user
# name and password stays, also when it is rotated later.
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
	ok(index("$out$err", $value) < 0, 'it prints no value');
	return ("$out$err", $? >> 8);
}

my ($said, $status) = set('--from-store', 'app');
is($status, 1, 'a secret that is not at the store cannot be adopted');
like($said, qr/^rotor set: ./, 'which is said');

my $uuid = sql($node, 'SELECT gen_random_uuid()');
my $text = qq({"username": "app", "password": "$value", "host": "db.example.org", "limit": 12345678901234567890, "note": ["kept"]});
is(ask_aws($aws, 'CreateSecret', Name => 'apps/app', ClientRequestToken => $uuid, SecretString => $text)->{status}, 200, 'given a secret at AWS');
($said, $status) = set('--from-store', 'app');
is($said, "adopted\n", 'it is adopted');
is($status, 0, 'which is a success');
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

for my $case ([ 'somebody', '{"username": "somebody", "password": "else"}', qr/another account/ ], [ 'text', 'text', qr/no JSON object/ ])
{
	my ($key, $content, $refusal) = @$case;
	is(ask_aws($aws, 'CreateSecret', Name => "apps/$key", ClientRequestToken => sql($node, 'SELECT gen_random_uuid()'), SecretString => $content)->{status},
		200, "given a secret at AWS that is not the role's: $key");
	sql($node, qq(SELECT rotor.manage('app', policy => 'quick', store => 'aws', options => '{"key": "apps/$key"}')));
	like((set('--from-store', 'app'))[0], $refusal, 'it is not adopted');
}
like((set('--from-store', 'plain'))[0], qr/no store outside/, 'nor what is in no store outside');
like((set('--from-store', 'nobody'))[0], qr/^rotor set: ./, 'nor a secret that there is not');
stop_peer($aws);
no_crash_in($node);
done_testing();
