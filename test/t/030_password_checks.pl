# What the server thinks of passwords: password_encryption = md5, former md5 verifiers, and check_password_hook modules,
# also one that prints the password in its error.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

#---------------------------------------------------------------------------------------------------------------------
# A server that knows md5 only

{
	my $node = new_cluster('md5', conf => "password_encryption = md5\n", hba => ['host all all 127.0.0.1/32 md5']);

	sql($node, q{CREATE ROLE app_user LOGIN PASSWORD 'old'; CREATE ROLE second LOGIN PASSWORD 'older'});
	is(sql($node, q{SELECT left(rolpassword, 3) FROM pg_authid WHERE rolname = 'app_user'}), 'md5', 'the role has an md5 verifier');
	my $state = role_state($node, 'app_user');

	# A roll-back gives it back.
	my $refusing = fake_server(ask => 1, error => '28P01');
	set_conf($node, 'rotor.verify_port' => $refusing->{port});
	rotate_fails($node, 'app_user', '55000', undef, 'a rotation that is rolled back');
	is(role_state($node, 'app_user'), $state, 'the md5 verifier is restored byte for byte');
	logs_in($node, 'app_user', 'old', 'the old password logs in');
	fails($node, q{SELECT rotor.get_secret('app_user')}, '42704', undef, 'and there is no current version to read');
	set_conf($node, 'rotor.verify_port' => 0);
	stop_listener($refusing);

	rotate_ok($node, 'app_user', 'password_encryption = md5');
	is(sql($node, q{SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = 'app_user'}), 'SCRAM-SHA-256$',
		'the role has a SCRAM verifier all the same');
	is_locked_out($node, 'app_user', 'old', 'the old password no longer logs in');
	assert_invariants($node, 'app_user', 'md5');
	is(sql($node, q{SELECT password_type, in_sync FROM rotor.coverage WHERE role = 'app_user'}), 'scram-sha-256|t', 'coverage knows its kind');
	is(sql($node, q{SELECT password_type FROM rotor.coverage WHERE role = 'second'}), 'md5', 'and that of the other');

	sql($node, q{UPDATE rotor.policy SET scram_iterations = 256 WHERE name = 'default'});
	rotate_ok($node, 'second', 'scram_iterations = 256');
	like(sql($node, q{SELECT rolpassword FROM pg_authid WHERE rolname = 'second'}), qr/^SCRAM-SHA-256\$256:/, 'the verifier has 256 rounds');
	assert_invariants($node, 'second', 'scram_iterations');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# A password check that refuses

{
	my $module = build_module('refuse_password');
	my $node   = new_cluster('checked', conf => "shared_preload_libraries = '$module'\n");
	my $record = $node->data_dir . '/refused';

	my $refused = sub { my @values = -f $record ? split /\n/, slurp_file($record) : (); return wantarray ? @values : scalar @values };
	my $forget  = sub { unlink $record };
	# Does any stretch of eight characters of any of these values appear?
	my $appears = sub {
		my ($text, @values) = @_;
		for my $value (@values)
		{
			for my $from (0 .. length($value) - 8)
			{
				return 1 if index($text, substr($value, $from, 8)) >= 0;
			}
		}
		return 0;
	};

	set_conf($node, 'refuse_password.record' => $record);
	sql($node, q{CREATE ROLE app_user LOGIN PASSWORD 'chosen by a human'});
	short_backoff($node);
	rotate_ok($node, 'app_user', 'a check that accepts');
	is(scalar $refused->(), 0, 'it has refused nothing');

	# A few times, then another value is good.
	set_conf($node, 'refuse_password.first' => 2);
	rotate_ok($node, 'app_user', 'a check that refuses the first two values');
	is(scalar $refused->(), 2, 'two values were refused');
	is(sql($node, q{SELECT count(*) FROM rotor.audit WHERE event = 'value_refused'}), '2', 'each refusal is in the audit');
	my $current = current_password($node, 'app_user');
	ok(!(grep { $_ eq $current } $refused->()), 'none of them is the current one');
	is(sql($node, q{SELECT count(*) FROM rotor.version WHERE stage = 'pending'}), '0', 'no refused value stays pending');
	assert_invariants($node, 'app_user', 'refused twice');
	$forget->();

	# Always.
	for my $leak (qw(none plain quoted))
	{
		# A quote in every value: a message that has it doubled does not contain the value as such.
		sql($node, q{UPDATE rotor.policy SET exclude = '!"#$%&()*+,-./:;<=>?@[\]^_`{|}~' WHERE name = 'default'}) if $leak eq 'quoted';
		set_conf($node, 'refuse_password.first' => 0, 'refuse_password.plaintexts' => 'on', 'refuse_password.leak' => $leak);
		my $name  = "a check that refuses everything, password in its error: $leak";
		my $state = role_state($node, 'app_user');
		my $error = rotate_fails($node, 'app_user', '22023', undef, $name);

		is(role_state($node, 'app_user'), $state, "$name: the role is as it was, byte for byte");
		cmp_ok(scalar $refused->(), '>', 1, "$name: more than one value was tried");
		cmp_ok(scalar $refused->(), '<', 20, "$name: but few");
		like("$error->{message} $error->{detail}", qr/password refused|withheld/, "$name: the error tells the reason") if $leak eq 'none';
		like($error->{hint}, qr/policy/, "$name: and the remedy");
		is(last_rotation($node, 'app_user', 'status, outcome, step, dead_letter'), 'failed|permanent|set|t',
			"$name: it is a dead letter, for good");
		ok($current eq current_password($node, 'app_user'), "$name: get_secret() gives the password from before");
		logs_in($node, 'app_user', $current, "$name: which logs in");

		my $tables = sql($node, 'SELECT r::text FROM rotor.rotations r UNION ALL SELECT a::text FROM rotor.audit a UNION ALL SELECT h::text FROM rotor.health() h');
		ok(!$appears->($error->{err}, $refused->()), "$name: the caller's error shows no part of a password");
		ok(!$appears->($tables, $refused->()), "$name: no table does");
		ok(!$appears->(slurp_file($node->logfile), $refused->()), "$name: the server log does not");
		$forget->();
	}
	sql($node, q{UPDATE rotor.policy SET exclude = '' WHERE name = 'default'});

	# rollback() brings a value that cannot be replaced by another one.
	my $state = role_state($node, 'app_user');
	fails($node, q{SELECT rotor.rollback('app_user')}, '22023', undef, 'rollback() to a value that the check refuses');
	is(scalar $refused->(), 1, 'one value was tried');
	is(role_state($node, 'app_user'), $state, 'the role is as it was');
	ok(!$appears->(slurp_file($node->logfile), $refused->()), 'the server log shows no part of it');
	$forget->();

	set_conf($node, 'refuse_password.plaintexts' => 'off', 'refuse_password.leak' => 'none');
	rotate_ok($node, 'app_user', 'and when it accepts again');
	is(sql($node, 'SELECT count(*) FROM rotor.dead_letter'), '0', 'a success settles the dead letters');

	# Verifiers: rotor's own roll-back brings one.
	set_conf($node, 'refuse_password.verifiers' => 'on');
	rotate_ok($node, 'app_user', 'a check that refuses verifiers, as rotor sets one after the plaintext was judged');
	assert_invariants($node, 'app_user', 'verifiers refused');
	$current = current_password($node, 'app_user');
	$state   = role_state($node, 'app_user');
	my $refusing = fake_server(ask => 1, error => '28P01');
	set_conf($node, 'rotor.verify_port' => $refusing->{port});
	rotate_fails($node, 'app_user', '55000', undef, 'a rotation that has to be rolled back');
	is(last_rotation($node, 'app_user', 'status'), 'rolled_back', 'it is, though the check refuses verifiers');
	is(role_state($node, 'app_user'), $state, 'the verifier is what it was, byte for byte');
	ok($current eq current_password($node, 'app_user'), 'and so is the label');
	set_conf($node, 'rotor.verify_port' => 0);
	stop_listener($refusing);
	fails($node, q{ALTER ROLE app_user PASSWORD 'md51234567890abcdef1234567890abcdef'}, '22023', undef, 'for others the check is still in force');
	assert_invariants($node, 'app_user', 'at the end');
	$node->stop;
	unlink $record;
}

#---------------------------------------------------------------------------------------------------------------------
# contrib/passwordcheck

SKIP:
{
	my $node = new_cluster('passwordcheck', start => 0, conf => "shared_preload_libraries = 'passwordcheck'\n");

	chomp(my $folder = `$ENV{PG_CONFIG} --pkglibdir`);
	skip 'contrib/passwordcheck is not installed', 1 unless -f "$folder/passwordcheck.so";
	$node->start;
	sql($node, 'CREATE EXTENSION rotor; CREATE ROLE app_user LOGIN');
	rotate_ok($node, 'app_user', 'with passwordcheck loaded');
	assert_invariants($node, 'app_user', 'passwordcheck');
	sql($node, q{INSERT INTO rotor.policy (name, digits, symbols) VALUES ('letters', false, false)});
	sql($node, q{SELECT rotor.manage('app_user', policy => 'letters')});
	my $state = role_state($node, 'app_user');
	rotate_fails($node, 'app_user', '22023', qr/letters and nonletters/, 'a policy that passwordcheck refuses');
	is(role_state($node, 'app_user'), $state, 'the role is as it was');
	sql($node, q{SELECT rotor.manage('app_user', policy => 'compat')});
	rotate_ok($node, 'app_user', 'a policy that it accepts');
	assert_invariants($node, 'app_user', 'passwordcheck, at the end');
	$node->stop;
}

done_testing();
