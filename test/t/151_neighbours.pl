# Beside modules that judge passwords, watch statements, count logins and write down what they see: rotation works under their
# rules, causes no failed login, and leaves no value with any of them. And pg_cron drives a server that does not preload rotor.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorLeaks;
use RotorTest;
use Test::More;

my $config         = $ENV{PG_CONFIG} // 'pg_config';
my $library_folder = do { chomp(my $path = `$config --pkglibdir`); $path };
my @installed      = grep { -e "$library_folder/$_.so" } qw(pgaudit pg_stat_statements auto_explain pg_cron);
my %has            = map { $_ => 1 } @installed;
my $neighbour      = build_module('neighbour');
my $planted        = 'Planted-by-the-test.' . join '', map { ('a' .. 'z', 0 .. 9)[ rand 36 ] } 1 .. 24;

my $talkative = <<'CONF';
max_worker_processes = 16
log_statement = all
log_min_duration_statement = 0
log_error_verbosity = verbose
log_parameter_max_length_on_error = -1
log_connections = on
track_functions = all
rotor.poll_interval = '300ms'
CONF
$talkative .= "pgaudit.log = 'all'\npgaudit.log_parameter = on\npgaudit.log_relation = on\n" if $has{pgaudit};
$talkative .= "compute_query_id = on\npg_stat_statements.track = all\n" if $has{pg_stat_statements};
$talkative .= "auto_explain.log_min_duration = 0\nauto_explain.log_analyze = on\nauto_explain.log_verbose = on\nauto_explain.log_nested_statements = on\n"
  if $has{auto_explain};

sub lines { return join ";\n", @_ }

sub libraries { return "shared_preload_libraries = '" . join(',', @_) . "'\n" }

sub create_extensions
{
	my ($node) = @_;
	sql($node, "CREATE EXTENSION $_") for grep { $_ ne 'auto_explain' } @installed;
	sql($node, 'CREATE EXTENSION rotor');
}

#---------------------------------------------------------------------------------------------------------------------
# pg_cron looks once a minute: it is started first and waited for last

my @driven;

# How pg_cron runs its jobs: by a connection of its own, or in a background worker.
my %cron_runs_by = ('a connection' => "cron.use_background_workers = off\n", 'a background worker' => "cron.use_background_workers = on\n");

sub start_cron
{
	my ($way) = @_;
	my $node = new_cluster('cron_' . ($way =~ /worker/ ? 'worker' : 'connection'), extension => 0,
		conf => $talkative . $cron_runs_by{$way} . libraries($neighbour, @installed) . "neighbour.min_length = 12\nneighbour.hashed_allowed = off\n");

	$node->append_conf('postgresql.conf', "cron.host = '" . $node->host . "'\n");
	$node->restart;
	create_extensions($node);
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE ROLE queued_user LOGIN', 'CREATE ROLE rested_user LOGIN',
			q{INSERT INTO rotor.policy (name, rotation_interval) VALUES ('hourly', '1 hour')}));
	for my $role (qw(app_user queued_user rested_user))
	{
		sql($node, "SELECT rotor.manage('$role', policy => 'hourly')");
		rotate_ok($node, $role, "pg_cron by $way: before it, $role");
	}
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() - interval '1 minute' WHERE name = 'app_user'});
	sql($node, q{SELECT rotor.rotate('queued_user', wait => false)});
	my %before = map { $_ => current_password($node, $_) } qw(app_user queued_user rested_user);
	sql($node, q{SELECT cron.schedule('* * * * *', 'SELECT * FROM rotor.run_due()')});
	push @driven, { node => $node, way => $way, before => \%before };
}

sub end_cron
{
	my ($driven) = @_;
	my ($node, $way, $before) = @{$driven}{qw(node way before)};

	ok(poll_until(sub { last_rotation($node, 'app_user', 'trigger, status') eq 'schedule|success' }), "pg_cron by $way: what is due is rotated");
	ok(poll_until(sub { last_rotation($node, 'queued_user', 'status') eq 'success' }), 'and what is queued');
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'}) ne '0' }), 'the job has succeeded');
	is(current_password($node, 'rested_user') eq $before->{rested_user} ? 1 : 0, 1, 'what is not due is left alone');
	for my $role (qw(app_user queued_user))
	{
		isnt(current_password($node, $role) eq $before->{$role} ? 'the old one' : 'another', 'the old one', "$role has another password");
		assert_invariants($node, $role, "pg_cron by $way");
	}
	is(sql($node, q{SELECT count(*) FROM rotor.upcoming WHERE overdue}), '0', 'nothing is overdue any more');
	found_nowhere($node, "pg_cron by $way");
	no_crash_in($node);
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# What the neighbours have written down

sub found_nowhere
{
	my ($node, $name, @files) = @_;
	my @values = sealed_values($node);
	my @tables = map { $has{ $_->[0] } ? $_->[1] : () } [ pg_stat_statements => 'pg_stat_statements' ], [ pg_cron => 'cron.job' ], [ pg_cron => 'cron.job_run_details' ];

	cmp_ok(scalar @values, '>=', 3, "$name: " . @values . ' values are searched for');
	# The same searches find what is planted.
	sql($node, "CREATE ROLE planted_$$; COMMENT ON ROLE planted_$$ IS '$planted'; DROP ROLE planted_$$");
	is(findings(\@values, $node->logfile), 0, "$name: no value in the server's log");
	cmp_ok(findings([$planted], $node->logfile), '>', 0, "$name: the planted value is found there");
	is(findings(\@values, $_), 0, "$name: no value in $_") for @files;
	for my $table (@tables)
	{
		my $text = sql($node, "SELECT to_jsonb(t) FROM $table t");
		is(findings_in_text(\@values, $text), 0, "$name: no value in $table");
		cmp_ok(findings_in_text([$planted], $text), '>', 0, "$name: the planted value is found there") if $table eq 'pg_stat_statements';
	}
	my $log = slurp_file($node->logfile);
	like($log, qr/neighbour: password changed by: ALTER ROLE app_user PASSWORD '<redacted>'/, "$name: the module saw the ALTER ROLE, without a value");
	like($log, qr/neighbour: role app_user altered by postgres/, "$name: and the role that was altered");
	like($log, qr/AUDIT: [^\n]*ALTER ROLE app_user PASSWORD/, "$name: so did pgaudit") if $has{pgaudit};
	like($log, qr/duration: [^\n]*plan:.{0,400}rotor\.rotation/s, "$name: auto_explain saw rotor's own statements") if $has{auto_explain};
}

#---------------------------------------------------------------------------------------------------------------------
# Under strict rules

sub beside
{
	my ($order, @libraries) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir('neighbour');
	my $node = new_cluster("rotor_$order", extension => 0,
		conf => $talkative . libraries(@libraries) . <<"CONF");
neighbour.folder = '$folder'
neighbour.min_length = 12
neighbour.hashed_allowed = off
neighbour.max_failures = 1
CONF
	my $gate;

	create_extensions($node);
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE ROLE other_user LOGIN'));
	short_backoff($node);

	# The rules bite, or nothing is proved.
	fails($node, q{ALTER ROLE other_user PASSWORD 'short'}, '28000', qr/length/, 'a password that is too short');
	fails($node, q{ALTER ROLE other_user PASSWORD 'SCRAM-SHA-256$1:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='},
		'28000', qr/plain text/, 'a verifier');
	sql($node, q{ALTER ROLE other_user PASSWORD 'one that is long enough'});
	fails($node, q{ALTER ROLE other_user PASSWORD 'one that is long enough'}, '28000', qr/reuse/, 'the same text again');

	rotate_ok($node, 'app_user', "rotation $_") for 1 .. 3;
	my $current = current_password($node, 'app_user');
	succeeds($node, q{SELECT status FROM rotor.rollback('app_user')}, 'rollback() to a value that was there before');
	is(password_of($node, 'app_user', 'previous') eq $current ? 1 : 0, 1, 'and it is the other one that is previous now');
	rotate_ok($node, 'other_user', 'a role with a password of its own');
	assert_invariants($node, $_, 'under the rules') for qw(app_user other_user);

	# The way back gives the verifier byte for byte, though the module lets no verifier pass.
	my $state = role_state($node, 'app_user');
	$gate = new_gate($node);
	open_gate($gate, 1);
	rotate_fails($node, 'app_user', '55000', undef, 'a login that is refused');
	open_gate($gate);
	is(last_rotation($node, 'app_user', 'status'), 'rolled_back', 'the rotation is rolled back');
	is(role_state($node, 'app_user'), $state, 'the role is as it was, byte for byte');

	# A rule that asks for VALID UNTIL.
	set_conf($node, 'neighbour.needs_valid_until' => 'on');
	rotate_fails($node, 'app_user', '28000', qr/VALID UNTIL/, 'a policy that sets no VALID UNTIL');
	is(role_state($node, 'app_user'), $state, 'the role was not touched');
	sql($node, q{UPDATE rotor.policy SET rotation_interval = '1 day', valid_until_margin = '1 day' WHERE name = 'default'});
	rotate_ok($node, 'app_user', 'a policy that does');
	$state = role_state($node, 'app_user');
	open_gate($gate, 1);
	rotate_fails($node, 'app_user', '55000', undef, 'a login that is refused, with VALID UNTIL');
	open_gate($gate);
	is(last_rotation($node, 'app_user', 'status'), 'rolled_back', 'is rolled back: the rule sees the former VALID UNTIL');
	is(role_state($node, 'app_user'), $state, 'the role is as it was, byte for byte');
	set_conf($node, 'neighbour.needs_valid_until' => 'off');

	# A rule that no value of the policy obeys.
	set_conf($node, 'neighbour.min_length' => '40');
	rotate_fails($node, 'app_user', '28000', qr/length/, 'values that are too short');
	is(last_rotation($node, 'app_user', 'status, dead_letter'), 'failed|t', 'a dead letter');
	is(role_state($node, 'app_user'), $state, 'the role was not touched');
	sql($node, q{UPDATE rotor.policy SET length = 48 WHERE name = 'default'});
	rotate_ok($node, 'app_user', 'longer values');

	is(-e "$folder/failures" ? slurp_file("$folder/failures") : '', '', 'rotor has caused no failed login, which would have been a ban');
	assert_invariants($node, 'app_user', 'at the end');
	found_nowhere($node, "rotor $order", "$folder/history");

	# The count works.
	login($node, 'app_user', 'a wrong one');
	is(slurp_file("$folder/failures"), "app_user\n", 'a wrong password is counted');
	is(login($node, 'app_user', current_password($node, 'app_user'))->{ok}, 0, 'and bans');
	no_crash_in($node);
	stop_listener($gate);
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------

SKIP: {
	skip 'pg_cron is not installed', 1 unless $has{pg_cron};
	subtest "pg_cron by $_ begins" => sub { start_cron($_) }
	  for sort keys %cron_runs_by;
}
subtest 'rotor first' => sub { beside('first', 'rotor', @installed, $neighbour) };
subtest 'rotor last'  => sub { beside('last', $neighbour, @installed, 'rotor') };
subtest "pg_cron by $_->{way}" => sub { end_cron($_) }
  for @driven;

done_testing();
