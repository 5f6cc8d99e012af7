# A disk on which nothing can be written any more, at each moment of a rotation: callers are told what is the matter, the current
# password logs in, nothing is lost, and once there is room again the rotation goes on where it was.
#
# The disk is a tmpfs that is mounted in namespaces of this test's own, so that nobody has to be root, and nothing outlives it.

use strict;
use warnings;

# Before anything else is loaded, which would have its hands on the output.
BEGIN
{
	require File::Temp;
	my @namespace = qw(unshare --map-current-user --keep-caps --mount --pid --fork --kill-child);
	my $folder    = File::Temp->newdir;

	if (!$^C && !$ENV{ROTOR_TEST_NAMESPACE})
	{
		if (system("@namespace mount -t tmpfs tmpfs '$folder' >/dev/null 2>&1") != 0)
		{
			print "1..0 # SKIP no file system can be mounted in a namespace of its own: unshare is refused\n";
			exit 0;
		}
		$ENV{ROTOR_TEST_NAMESPACE} = 1;
		exec @namespace, $^X, $0 or die "unshare: $!";
	}
}

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

my ($node, $ballast);

sub lines { return join ";\n", @_ }

sub small_cluster
{
	my ($name, %options) = @_;

	$node = new_cluster($name, %options,
		before_init => sub {
			my $folder = $_[0]->basedir;
			system('mount', '-t', 'tmpfs', '-o', 'size=256m,mode=700', 'tmpfs', $folder) == 0 or die "could not mount at $folder";
		});
	$ballast = $node->basedir . '/ballast';
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE ROLE other_user LOGIN'));
	short_backoff($node);
}

# Leaves no room for a new page of any file. WAL goes on in a segment that is there already.
sub fill_disk
{
	sql($node, 'SELECT pg_switch_wal()');
	sql($node, 'CHECKPOINT');
	open my $file, '>', $ballast or die "$ballast: $!";
	for my $size (1 << 20, 1 << 12)
	{
		1 while syswrite $file, "\0" x $size;
	}
	close $file;
}

# And in the pages of the audit there is no room for another row, so that no outcome can be recorded.
sub fill_audit
{
	my $result = attempt($node, q{DO $$BEGIN LOOP INSERT INTO rotor.audit (actor, event, result) VALUES ('x', 'x', 'x'); COMMIT; END LOOP; END$$});
	is($result->{sqlstate}, '53100', 'given a full disk, and no room in the audit');
}

sub empty_disk { unlink $ballast or die "$ballast: $!" }

# What a caller is told while nothing can be recorded.
sub is_told
{
	my ($result, $step, $what, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($result->{sqlstate}, '53100', "$name: SQLSTATE 53100");
	like($result->{detail}, qr/Step $step; not even the failure could be written\. .*$what.*Rotation [0-9a-f-]{36}\./i, "$name: where it stands");
	unlike($result->{detail}, qr/attempt|\d ms/, "$name: attempts are not counted");
	like($result->{hint}, qr/room|free disk space/, "$name: what to do");
}

for my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $goes_on = sub {
		my ($name) = @_;
		sql($node, 'SELECT * FROM rotor.run_due()') unless $preload;
		ok(poll_until(sub { active_rotations($node, 'app_user') eq '0' }), "$name: with room again, it ends" . ($preload ? ' by itself' : ''));
		is(last_rotation($node, 'app_user', 'status'), 'success', "$name: well");
		assert_invariants($node, 'app_user', $name);
	};

	subtest "$how: the first key" => sub {
		small_cluster("full_first_$preload", preload => $preload);
		sql($node, q{SELECT rotor.manage('app_user')});
		fill_disk();
		rotate_fails($node, 'app_user', '58P01', qr/could not write key file.*No space left on device/, 'the first rotation');
		is(join(' ', glob $node->data_dir . '/rotor.key*'), '', 'no part of a key file is left');
		empty_disk();
		rotate_ok($node, 'app_user', 'with room again, the first rotation');
		assert_invariants($node, 'app_user', 'first key');
	};

	subtest "$how: a rotation that is queued" => sub {
		my $state = role_state($node, 'app_user');
		my $holder = holder($node, q{COMMENT ON ROLE app_user IS 'held'});
		rotate_ok($node, 'other_user', 'given another managed role');
		sql($node, q{SELECT rotor.rotate('app_user', wait => false)});
		fill_disk();
		fill_audit();
		let_go($holder);
		my $result;
		# A worker that tries it at this moment has the role.
		poll_until(sub { $result = attempt($node, q{SELECT status FROM rotor.rotate('app_user')}); $result->{sqlstate} ne '55006' });
		is_told($result, 'create', 'the role was not changed', 'the caller');
		rotate_fails($node, 'other_user', '53100', undef, 'a new rotation');
		is(role_state($node, 'app_user'), $state, 'the role is as it was');
		logs_in($node, 'app_user', current_password($node, 'app_user'), 'reading works, and what is read logs in');
		is(health_of($node, 'key'), 'ok data keys that open: 1', 'health() works');
		empty_disk();
		$goes_on->('queued');
	};

	subtest "$how: the password is set, its proof cannot be written" => sub {
		my $gate = new_gate($node);
		my $before = current_password($node, 'app_user');
		my $arrived = arrivals($gate);
		close_gate($gate);
		my $call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
		poll_until(sub { arrivals($gate) > $arrived });
		fill_disk();
		fill_audit();
		open_gate($gate);
		is_told(end_call($call), 'test', 'the new password is in effect', 'the caller');
		my $now = current_password($node, 'app_user');
		is($now eq $before ? 'the former one' : 'another', 'another', 'the current version is the new one');
		logs_in($node, 'app_user', $now, 'it logs in');
		is_locked_out($node, 'app_user', $before, 'the former one does not');
		empty_disk();
		$goes_on->('set');
		stop_listener($gate);
	};

	subtest "$how: no room for WAL" => sub {
		my $gate = new_gate($node);
		my $arrived = arrivals($gate);
		close_gate($gate);
		my $call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
		poll_until(sub { arrivals($gate) > $arrived });
		fill_disk();
		# The server gives up when it needs a segment that it cannot make.
		poll_until(sub { !attempt($node, lines('SELECT pg_logical_emit_message(false, $$x$$, $$x$$)', 'SELECT pg_switch_wal()'))->{ok} });
		ok(poll_until(sub { slurp_file($node->logfile) =~ /PANIC:.*No space left on device/ }), 'the server ends, as PostgreSQL does');
		open_gate($gate);
		ok(!end_call($call)->{ok}, 'and the call with it');
		empty_disk();
		poll_until(sub { slurp_file($node->logfile) =~ /database system is shut down/ });
		delete $node->{_pid};
		$node->start;
		$goes_on->('after WAL');
		rotate_ok($node, 'other_user', 'and others rotate');
		stop_listener($gate);
		$node->stop;
		system('umount', $node->basedir) == 0 or die 'could not unmount';
	};
}

done_testing();
