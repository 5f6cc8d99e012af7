# The way back: a password that is not proved gives way to what the role had, byte for byte, unless somebody else has
# changed it meanwhile. Between set and login stands a proxy, in which the test does what a human might do just then.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

my $node = new_cluster('back', conf => "rotor.lock_timeout = '500ms'\nrotor.connect_timeout = '2min'\n");

# Nothing is tried again before the test says so.
sql($node, q{UPDATE rotor.policy SET backoff = '30 days', backoff_max = '30 days'});

sub with_listener
{
	my ($listener, $work) = @_;

	set_conf($node, 'rotor.verify_port' => $listener->{port});
	$work->();
	set_conf($node, 'rotor.verify_port' => 0);
	stop_listener($listener);
}

# Something that happens after the role has its new password and before the login.
sub meanwhile
{
	my ($sql, $work) = @_;
	with_listener(proxy($node, sub { sql($node, $sql) }), $work);
}

#---------------------------------------------------------------------------------------------------------------------
# Whatever the role had comes back

{
	my $number = 0;
	my %verifiers = (
		none    => 'NULL',
		scram   => q{'a plaintext'},
		md5     => q{'md5cafebabecafebabecafebabecafebabe'},
		unknown => undef,
	);

	for my $kind (sort keys %verifiers)
	{
		for my $until (undef, 'infinity', '2099-12-31 23:59:59.999999+00', '2035-06-07 08:09:10+05:45')
		{
			my $role = 'role_' . ++$number;
			my $name = "$kind verifier, VALID UNTIL " . ($until // 'none');

			sql($node, "CREATE ROLE $role LOGIN PASSWORD " . ($verifiers{$kind} // q{'x'}) . ($until ? " VALID UNTIL '$until'" : ''));
			sql($node, "UPDATE pg_authid SET rolpassword = 'neither this nor that' WHERE rolname = '$role'") if $kind eq 'unknown';
			my $state = role_state($node, $role);

			# The login is refused because the password has expired by then.
			meanwhile("ALTER ROLE $role VALID UNTIL '2001-01-01'", sub {
					rotate_fails($node, $role, '28P01', qr/refused/, $name);
				});
			is(role_state($node, $role), $state, "$name: both are back, byte for byte");
			is(last_rotation($node, $role, 'status, outcome, step'), 'rolled_back|refused|done', "$name: the rotation is rolled back");
			fails($node, "SELECT rotor.get_secret('$role')", '42704', undef, "$name: there is no current version");
		}
	}
	is(sql($node, 'SELECT count(*) FROM rotor.saved_verifier'), '0', 'no former verifier is kept after that');
	is(sql($node, q{SELECT count(*) FROM rotor.audit WHERE event = 'rolled_back'}), $number, 'each roll-back is in the audit');
}

sql($node, 'CREATE ROLE app_user LOGIN');
rotate_ok($node, 'app_user', 'the first rotation of a role');

{
	rotate_ok($node, 'app_user', 'a second one');
	my %before = map { $_ => password_of($node, 'app_user', $_) } qw(current previous);
	my $state  = role_state($node, 'app_user');

	meanwhile(q{ALTER ROLE app_user VALID UNTIL '2001-01-01'}, sub {
			my $error = rotate_fails($node, 'app_user', '28P01', undef, 'a roll-back of a secret with history');
			like($error->{detail}, qr/Rotation [0-9a-f-]{36}/, 'the error has the uuid of the rotation');
		});
	is(role_state($node, 'app_user'), $state, 'verifier and VALID UNTIL are back');
	ok($before{$_} eq password_of($node, 'app_user', $_), "the label $_ is where it was") for qw(current previous);
	is(sql($node, q{SELECT count(*) FROM rotor.version WHERE stage = 'pending'}), '0', 'nothing is pending');
	assert_invariants($node, 'app_user', 'a secret with history');

	# A margin moves VALID UNTIL; the way back moves it back.
	sql($node, q{UPDATE rotor.policy SET rotation_interval = '1 day', valid_until_margin = '1 hour' WHERE name = 'default'});
	with_listener(fake_server(ask => 1, error => '28P01'), sub {
			rotate_fails($node, 'app_user', '55000', undef, 'a roll-back under valid_until_margin');
		});
	is(role_state($node, 'app_user'), $state, 'VALID UNTIL is what it was');
	sql($node, q{UPDATE rotor.policy SET valid_until_margin = NULL WHERE name = 'default'});
	sql($node, q{UPDATE rotor.policy SET rotation_interval = NULL WHERE name = 'default'});
	rotate_ok($node, 'app_user', 'then a rotation succeeds');
	assert_invariants($node, 'app_user', 'after the roll-backs');
}

#---------------------------------------------------------------------------------------------------------------------
# Somebody else was at it: the role is left alone

{
	meanwhile(q{ALTER ROLE app_user PASSWORD 'a human''s own'}, sub {
			rotate_fails($node, 'app_user', '55006', qr/somebody else/, 'a human changed the password before the login');
		});
	is(last_rotation($node, 'app_user', 'status, outcome, dead_letter'), 'failed|superseded|t', 'the rotation has failed, superseded');
	logs_in($node, 'app_user', q{a human's own}, q{the human's password logs in: the role was left alone});
	like(health_of($node, 'changed_elsewhere'), qr/^warning/, 'health() says that the role was changed elsewhere');
	is(sql($node, q{SELECT in_sync FROM rotor.coverage WHERE role = 'app_user'}), 'f', 'and coverage that it is not in sync');
	rotate_ok($node, 'app_user', 'another rotation brings rotor up to date');
	is(sql($node, 'SELECT count(*) FROM rotor.dead_letter'), '0', 'and settles the dead letter');
	assert_invariants($node, 'app_user', 'superseded at the test');

	# While the verification query runs: the login has succeeded.
	my $held = $node->background_psql('postgres');
	$held->query_safe('SELECT pg_advisory_lock(7)');
	sql($node, q{UPDATE rotor.policy SET verify_query = 'SELECT pg_advisory_lock_shared(7)' WHERE name = 'default'});
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/begun/, qq{\\echo begun\nSELECT status FROM rotor.rotate('app_user');\n});
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rotor verification' AND wait_event = 'advisory'}) eq '1' }),
		'the verification query runs');

	# Meanwhile nobody is locked out.
	logs_in($node, 'app_user', current_password($node, 'app_user'), 'I1: during verification, the version labelled current logs in');
	is(sql($node, q{SELECT status FROM rotor.rotations WHERE finished_at IS NULL}), 'verifying', 'the status is verifying');
	fails($node, q{SELECT rotor.rotate('app_user')}, '55006', qr/already active/, 'I4: another rotation of the role is refused');
	sql($node, q{ALTER ROLE app_user PASSWORD 'another human''s'});
	$held->quit;
	$session->quit;
	is(last_rotation($node, 'app_user', 'status, outcome, error_code'), 'failed|superseded|55006', 'a human changed the password after the login: superseded');
	logs_in($node, 'app_user', q{another human's}, q{the human's password logs in});
	sql($node, 'UPDATE rotor.policy SET verify_query = NULL');
	rotate_ok($node, 'app_user', 'another rotation brings rotor up to date again');

	# Other attributes are not the password's.
	meanwhile('ALTER ROLE app_user CONNECTION LIMIT 7', sub {
			rotate_ok($node, 'app_user', 'a change of something else does not matter');
		});
	is(sql($node, q{SELECT rolconnlimit FROM pg_authid WHERE rolname = 'app_user'}), '7', 'and stays');
	meanwhile('ALTER ROLE app_user NOLOGIN', sub {
			rotate_ok($node, 'app_user', 'NOLOGIN after the password was set: it was proved');
			like(last_rotation($node, 'app_user', 'note'), qr/28000/, 'with a note');
		});
	sql($node, 'ALTER ROLE app_user LOGIN');
	meanwhile('ALTER ROLE app_user RENAME TO renamed_user', sub {
			my $result = attempt($node, q{SELECT rotor.rotate('app_user')});
			ok($result->{ok} || $result->{sqlstate} ne 'XX000', 'a rename before the login is no internal error');
		});
	sql($node, 'UPDATE rotor.rotation SET next_attempt_at = now() WHERE finished_at IS NULL; ALTER ROLE renamed_user RENAME TO app_user');
	sql($node, 'SELECT * FROM rotor.run_due()');
	assert_invariants($node, 'app_user', 'after a rename and back');
}

#---------------------------------------------------------------------------------------------------------------------
# The way back is barred for a while

{
	my $state  = role_state($node, 'app_user');
	my $before = current_password($node, 'app_user');
	my $lock   = $node->background_psql('postgres');

	# The expiry that makes the login fail is committed; then the role's row is locked.
	my $locking = proxy($node, sub {
			my ($note) = @_;

			sql($node, q{ALTER ROLE app_user VALID UNTIL '2001-01-01'});
			$note->('expired');
			poll_until(sub { sql($node, q{SELECT count(*) FROM pg_locks WHERE relation = 'pg_authid'::regclass AND mode = 'RowShareLock'}) ne '0' });
		});
	set_conf($node, 'rotor.verify_port' => $locking->{port});
	my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	$session->query_until(qr/begun/, qq{\\echo begun\nSELECT status FROM rotor.rotate('app_user');\n});
	poll_until(sub { noted($locking, 'expired') });
	$lock->query_safe(q{BEGIN; SELECT oid FROM pg_authid WHERE rolname = 'app_user' FOR UPDATE});
	$session->quit;
	is(last_rotation($node, 'app_user', 'status, step, attempt'), 'verifying|undo|1', 'the role is locked: the way back waits');
	is(sql($node, 'SELECT count(*) FROM rotor.saved_verifier'), '1', 'I2: the former verifier is kept');
	$lock->quit;
	set_conf($node, 'rotor.verify_port' => 0);
	stop_listener($locking);
	sql($node, 'UPDATE rotor.rotation SET next_attempt_at = now() WHERE finished_at IS NULL');
	is(sql($node, 'SELECT * FROM rotor.run_due()'), 'rolled_back|1', 'then it is gone');
	is(role_state($node, 'app_user'), $state, 'verifier and VALID UNTIL are back');
	ok($before eq current_password($node, 'app_user'), 'and the label');
	assert_invariants($node, 'app_user', 'a barred way back');
}

#---------------------------------------------------------------------------------------------------------------------
# rollback(): back to the previous version

{
	sql($node, 'CREATE ROLE fresh LOGIN');
	fails($node, q{SELECT rotor.rollback('fresh')}, '42704', undef, 'rollback() of what is not managed');
	rotate_ok($node, 'fresh', 'a first rotation');
	fails($node, q{SELECT rotor.rollback('fresh')}, '55000', qr/no previous version/, 'rollback() without a previous version');
	my $first = current_password($node, 'fresh');
	rotate_ok($node, 'fresh', 'a second one');
	my $second = current_password($node, 'fresh');

	my $back = succeeds($node, q{SELECT status, trigger FROM rotor.rollback('fresh')}, 'rollback()');
	is($back->{out}, 'success|rollback', 'it is a rotation of its own');
	ok($first eq current_password($node, 'fresh'), 'the previous version is current');
	ok($second eq password_of($node, 'fresh', 'previous'), 'and the former current one is previous');
	logs_in($node, 'fresh', $first, 'the first password logs in again');
	is_locked_out($node, 'fresh', $second, 'the second one no longer does');
	assert_invariants($node, 'fresh', 'rollback()');

	with_listener(fake_server(ask => 1, error => '28P01'), sub {
			fails($node, q{SELECT rotor.rollback('fresh')}, '55000', undef, 'rollback() that cannot be proved');
		});
	ok($first eq current_password($node, 'fresh'), 'the current version stays what it was');
	ok($second eq password_of($node, 'fresh', 'previous'), 'and the previous one too');
	assert_invariants($node, 'fresh', 'rollback() that was rolled back');
	succeeds($node, q{SELECT rotor.rollback('fresh')}, 'rollback() once more');
	ok($second eq current_password($node, 'fresh'), 'changes them again');
	assert_invariants($node, 'fresh', 'rollback() twice');
}

#---------------------------------------------------------------------------------------------------------------------
# Strategy immediate: answered when set, proved afterwards

{
	my $old  = current_password($node, 'fresh');
	my $go   = PostgreSQL::Test::Utils::tempdir('go');
	my $slow = proxy($node, sub { my ($note) = @_; poll_until(sub { -e "$go/proved" }); $note->('passed') });

	with_listener($slow, sub {
			is(sql($node, q{SELECT status FROM rotor.rotate('fresh', strategy => 'immediate')}), 'verifying', 'immediate: rotate() answers when the password is set');
			is(noted($slow, 'passed'), 0, 'immediate: before the login');
			logs_in($node, 'fresh', current_password($node, 'fresh'), 'immediate: the new password logs in at that moment');
			is_locked_out($node, 'fresh', $old, 'immediate: the old one does not');
			append_to_file("$go/proved", '');
			ok(poll_until(sub { last_rotation($node, 'fresh', 'status') eq 'success' }), 'immediate: it is proved afterwards');
			is(last_rotation($node, 'fresh', 'strategy, outcome IS NULL'), 'immediate|t', 'immediate: the strategy is on record');
		});
	assert_invariants($node, 'fresh', 'immediate');

	$old = current_password($node, 'fresh');
	my $state = role_state($node, 'fresh');
	with_listener(fake_server(ask => 1, error => '28P01', first => sub { poll_until(sub { -e "$go/refused" }) }), sub {
			is(sql($node, q{SELECT status FROM rotor.rotate('fresh', strategy => 'immediate')}), 'verifying', 'immediate, not to be proved: rotate() answers when the password is set');
			append_to_file("$go/refused", '');
			ok(poll_until(sub { last_rotation($node, 'fresh', 'finished_at IS NOT NULL') eq 't' }), 'immediate, not to be proved: it comes to an end');
		});
	is(last_rotation($node, 'fresh', 'status'), 'rolled_back', 'immediate, not to be proved: it is rolled back');
	is(role_state($node, 'fresh'), $state, 'immediate, not to be proved: the role has what it had');
	assert_invariants($node, 'fresh', 'immediate, not to be proved');
	fails($node, "SELECT rotor.rotate('fresh', strategy => '$_')", '0A000', qr/strategy "$_"/, "strategy $_") for qw(dual_write blue_green);
}

#---------------------------------------------------------------------------------------------------------------------
# Old sessions

{
	sql($node, q{SELECT rotor.grant_access('fresh', 'fresh', 'rotate')});
	my $sessions = q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'fresh' AND application_name <> 'rotor verification'};
	my $open     = sub {
		my $password = current_password($node, 'fresh');
		local $ENV{PGPASSWORD} = $password;
		return $node->background_psql('postgres', on_error_stop => 0,
			extra_params => [ '-d', 'host=127.0.0.1 port=' . $node->port . ' user=fresh dbname=postgres' ]);
	};
	my $session = $open->();
	is(sql($node, $sessions), '1', 'a session of the role is open');
	rotate_ok($node, 'fresh', 'a rotation that spares sessions');
	is(sql($node, $sessions), '1', 'it goes on');
	with_listener(fake_server(ask => 1, error => '28P01'), sub {
			fails($node, q{SELECT rotor.rotate('fresh', terminate_sessions => true)}, '55000', undef, 'a rotation that is rolled back');
		});
	is(sql($node, $sessions), '1', 'a password that is not proved ends no session');
	succeeds($node, q{SELECT rotor.rotate('fresh', terminate_sessions => true)}, 'a rotation that ends sessions');
	ok(poll_until(sub { sql($node, $sessions) eq '0' }), 'the session has ended');
	eval { $session->quit };

	# The caller is spared.
	my $other  = $open->();
	my $caller = $open->();
	is(sql($node, $sessions), '2', 'two sessions of the role are open');
	is(scalar $caller->query(q{SELECT status FROM rotor.rotate('fresh', terminate_sessions => true)}), 'success', 'the role rotates its own password');
	is(scalar $caller->query('SELECT 1'), '1', 'its session goes on');
	ok(poll_until(sub { sql($node, $sessions) eq '1' }), 'the other one has ended');
	eval { $_->quit } for $caller, $other;
	assert_invariants($node, 'fresh', 'at the end');
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'no process has crashed');
$node->stop;

done_testing();
