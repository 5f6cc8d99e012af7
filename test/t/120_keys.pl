# Master keys: made once and never again, lost, wrong, damaged, readable by others, several, printed by a command. Without
# the right key nothing starts and no role is touched; when it is back, nothing is lost.

use strict;
use warnings;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use RotorCrash;
use Test::More;
use Time::HiRes qw(time);

my $folder = PostgreSQL::Test::Utils::tempdir('keys');
my $file   = "$folder/master.key";

sub key_line
{
	my ($id) = @_;
	return "$id:" . join('', map { sprintf '%02x', int rand 256 } 1 .. 32) . "\n";
}

sub write_file
{
	my ($path, $text, $mode) = @_;

	unlink $path;
	append_to_file($path, $text);
	chmod $mode // 0600, $path or die "$path: $!";
}

sub files_in
{
	my ($path) = @_;
	opendir(my $handle, $path) or die "$path: $!";
	return join ' ', sort grep { !/^\.\.?$/ } readdir $handle;
}

# Preloaded workers know the data keys that they have used; new ones do not.
sub restart_workers
{
	my ($node) = @_;
	my @pids = split /\n/, sql($node, q{SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE backend_type = 'rotor worker'});

	poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND backend_start > now() - interval '1 minute'}) eq '0' }, 1);
	return @pids;
}

#---------------------------------------------------------------------------------------------------------------------
# The first key file

my $node = new_cluster('keys', conf => "rotor.key_file = '$file'\nrotor.lock_timeout = '3s'\n");
# So that nobody tries again by himself; rotate() takes up what has failed before.
sql($node, q{UPDATE rotor.policy SET backoff = '30 days', backoff_max = '30 days'});
sql($node, "CREATE ROLE $_ LOGIN") for qw(app_user other_user late_user);

chmod 0555, $folder;
SKIP:
{
	skip 'a superuser of the operating system writes everywhere', 4 if $> == 0;
	my $state = role_state($node, 'app_user');
	my $error = rotate_fails($node, 'app_user', '58P01', qr/\Q$file\E/, 'a folder that cannot be written to');
	like($error->{hint}, qr/writable|rotor\.key_file/, 'a folder that cannot be written to: the remedy');
	is(role_state($node, 'app_user'), $state, 'a folder that cannot be written to: the role is as it was');
}
chmod 0700, $folder;
is(files_in($folder), '', 'no file is left behind');

my $first = rotate_ok($node, 'app_user', 'the folder can be written to: the first rotation');
like($first->{err}, qr/NOTICE:.*first master key/, 'a NOTICE tells of the key file');
like($first->{err}, qr/copy/i,                      'and what to do with it');
is(files_in($folder), 'master.key', 'there is the key file and nothing else');
is(sprintf('%o', (stat $file)[2] & 07777), '600', 'nobody else can read it');
like(slurp_file($file), qr/^[A-Za-z0-9._-]+:[0-9a-f]{64}\n$/, 'it holds one line, id:key');
assert_invariants($node, 'app_user', 'the first key');
my $key_text = slurp_file($file);
my ($key_id) = $key_text =~ /^([^:]+):/;
is(sql($node, 'SELECT master_key_id FROM rotor.data_key'), $key_id, 'the data key says which master key it needs');
unlike(rotate_ok($node, 'app_user', 'the second rotation')->{err}, qr/NOTICE/, 'the second rotation: no NOTICE');
is(slurp_file($file), $key_text, 'the file is as it was');
like(health_of($node, 'key'),      qr/^ok/, 'health() proves the key');
like(health_of($node, 'key_file'), qr/^ok/, 'health(): the file is not in the data directory');

my $app_password = current_password($node, 'app_user');

#---------------------------------------------------------------------------------------------------------------------
# The key is away, or is another one, or the file is unfit

# Given the file as $how makes it: reading and rotating fail with this SQLSTATE, touch nothing, and work again afterwards.
sub unfit
{
	my ($name, $how, $sqlstate, $pattern, $hint) = @_;
	my $state = role_state($node, 'app_user');
	my $versions = sql($node, 'SELECT count(*) FROM rotor.version');

	subtest $name => sub {
		$how->();
		my $before = -e $file && -f _ && -r _ ? slurp_file($file) : '';

		for my $read (q{rotor.get_secret('app_user')}, q{rotor.get_secret('app_user', 'previous')}, q{rotor.connection_uri('app_user')})
		{
			my $error = fails($node, "SELECT $read", $sqlstate, $pattern, $read);
			like($error->{hint}, $hint, "$read: the remedy");
		}
		my $error = rotate_fails($node, 'app_user', $sqlstate, $pattern, 'rotate()');
		like("$error->{detail} $error->{hint}", qr/role was not changed/, 'rotate(): it says that the role was not changed');
		rotate_fails($node, 'late_user', $sqlstate, $pattern, "rotate() of a role that is not managed yet");
		is(role_state($node, 'app_user'), $state, 'the role is as it was');
		is(sql($node, 'SELECT count(*) FROM rotor.version'), $versions, 'no version was made');
		like(health_of($node, 'key'), qr/^error/, 'health() finds it');
		is(-e $file && -f _ && -r _ ? slurp_file($file) : '', $before, 'no key file was made or changed');
		is(sql($node, q{SELECT username FROM rotor.secret WHERE name = 'app_user'}), 'app_user', 'what needs no key works');
		like(sql($node, q{SELECT rotor.describe('app_user') ->> 'secret'}), qr/app_user/, 'so does describe()');

		# It is back.
		if (-d $file && !-l $file) { rmdir $file }
		unlink $file;
		write_file($file, $key_text);
		is(current_password($node, 'app_user') eq $app_password ? 'same' : 'other', 'same', 'when it is back, the value can be read');
		rotate_ok($node, 'app_user', 'when it is back, rotate()');
		assert_invariants($node, 'app_user', 'when it is back');
		is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'app_user' AND finished_at IS NULL}),
			'0', 'nothing is left over');
		rotate_ok($node, 'late_user', 'and the role that came in between');
		sql($node, "DROP ROLE late_user;\nCREATE ROLE late_user LOGIN");
		sql($node, q{SELECT rotor.unmanage('late_user')});
	};
	$app_password = current_password($node, 'app_user');
}

my $nothing_lost = qr/[Rr]estore/;

unfit('the key file is lost', sub { unlink $file }, '58P01', qr/missing.*\Q$file\E/s, $nothing_lost);
unfit('another key of the same id', sub { write_file($file, key_line($key_id)) }, '58P01', qr/not the one that was used/, $nothing_lost);
unfit('another key of another id', sub { write_file($file, key_line('another')) }, '58P01', qr/\Q$key_id\E/, qr/./);
unfit('an empty key file', sub { write_file($file, '') }, 'F0000', qr/there is no master key/, qr/./);
unfit('a key file that is cut off', sub { write_file($file, substr $key_text, 0, 40) }, 'F0000', qr/line 1/, qr/./);
unfit('a key file of garbage', sub { write_file($file, "x" . join('', map { chr(int rand 256) } 1 .. 500) . "\n") }, 'F0000', qr/line/, qr/./);
unfit('a key file with a damaged second line', sub { write_file($file, $key_text . "other:1234\n") }, 'F0000', qr/line 2/, qr/./);
unfit('the same id twice', sub { write_file($file, $key_text . key_line($key_id)) }, 'F0000', qr/line 2.*repeats/, qr/./);
unfit('a key file that is too large', sub { write_file($file, $key_text . ("# padding\n" x 10000)) }, 'F0000', qr/larger/, qr/./);
unfit("a key file of mode $_", sub { write_file($file, $key_text, oct) }, 'F0000', qr/readable by others/, qr/0600/) for qw(0640 0604 0660 0644);
unfit('a key file that is a folder', sub { unlink $file; mkdir $file }, 'F0000', qr/regular file/, qr/./);

# What the file holds is never shown.
my $log = slurp_file($node->logfile);
unlike($log, qr/[0-9a-f]{64}/, 'no key reaches the log');

subtest 'a key file that is a pipe keeps nobody waiting' => sub {
	unlink $file;
	system('mkfifo', '-m', '600', $file) == 0 or die 'mkfifo';
	my $call = start_call($node, [ "SET statement_timeout = '10s'", q{SELECT rotor.get_secret('app_user') IS NULL} ]);
	ok(poll_until(sub { !is_running($call) }, 30), 'reading ends soon');
	# Whoever waits for the other end of the pipe is let go.
	POSIX::close(POSIX::open($file, POSIX::O_WRONLY() | POSIX::O_NONBLOCK()) // -1) if is_running($call);
	my $error = end_call($call);
	is($error->{sqlstate}, 'F0000', 'with an error') or diag $error->{err};
	unlink $file;
	write_file($file, $key_text);
	ok(defined current_password($node, 'app_user'), 'the regular file is back');
};

# A file that is there already is used, and never replaced.
subtest 'a key file that exists before the first rotation is used' => sub {
	my $theirs = "$folder/theirs.key";
	write_file($theirs, "# made by hand\r\n" . key_line('first') . "\n" . key_line('2026_newest'));
	my $text = slurp_file($theirs);
	my $other = new_cluster('keys_theirs', conf => "rotor.key_file = '$theirs'\n");
	sql($other, 'CREATE ROLE app_user LOGIN');
	unlike(rotate_ok($other, 'app_user', 'the first rotation')->{err}, qr/master key/, 'no NOTICE of a new key');
	is(slurp_file($theirs), $text, 'the file is as it was');
	is(sql($other, 'SELECT master_key_id FROM rotor.data_key'), '2026_newest', 'its last key is used');
	assert_invariants($other, 'app_user', 'with a key made by hand');
	$other->stop;
};

subtest 'several first rotations at once make one key' => sub {
	my $race = "$folder/race.key";
	my $other = new_cluster('keys_race', preload => 1, conf => "rotor.key_file = '$race'\nrotor.workers = 3\n");
	sql($other, "CREATE ROLE user_$_ LOGIN") for 1 .. 6;
	my @calls = map { start_call($other, "SELECT status FROM rotor.rotate('user_$_')") } 1 .. 6;
	my @results = map { end_call($_) } @calls;
	is((grep { $_->{out} eq 'success' } @results), 6, 'all succeed') or diag map { $_->{err} } @results;
	is(() = slurp_file($race) =~ /\n/g, 1, 'one key');
	is(files_in($folder) =~ /tmp/ ? 1 : 0, 0, 'no temporary file is left');
	is(sql($other, 'SELECT count(*) FROM rotor.data_key'), '1', 'one data key');
	restart_workers($other);
	assert_invariants($other, "user_$_", "role $_") for 1 .. 6;
	$other->stop;
};

# No key file is made where a value could depend on an older one.
subtest 'without an active data key, but with an older one, no key file is made' => sub {
	sql($node, 'UPDATE rotor.data_key SET active = false');
	rename $file, "$file.away" or die;
	rotate_fails($node, 'app_user', '58P01', qr/master key/, 'rotate()');
	is(-e $file ? 1 : 0, 0, 'no key file is made');
	rename "$file.away", $file or die;
	rotate_ok($node, 'app_user', 'with the key, rotate() makes a new data key');
	is(sql($node, 'SELECT count(*), count(*) FILTER (WHERE active) FROM rotor.data_key'), '2|1', 'there are two, one of them active');
	is(password_of($node, 'app_user', 'previous') eq $app_password ? 'same' : 'other', 'same', 'what the older one sealed can be read');
	assert_invariants($node, 'app_user', 'with two data keys');
};

#---------------------------------------------------------------------------------------------------------------------
# Preloaded: what waits for the key goes on by itself

subtest 'workers without the key take up their rotations when it is back' => sub {
	my $path = "$folder/preloaded.key";
	my $other = new_cluster('keys_preloaded', preload => 1,
		conf => "rotor.key_file = '$path'\nrotor.poll_interval = '200ms'\nrotor.workers = 2\n");
	sql($other, "CREATE ROLE $_ LOGIN") for qw(app_user queued_user);
	rotate_ok($other, $_, "given a managed role, $_") for qw(app_user queued_user);
	sql($other, q{UPDATE rotor.policy SET max_attempts = 100, backoff = '100 ms', backoff_max = '300 ms'});
	my %former = map { $_ => current_password($other, $_) } qw(app_user queued_user);
	my %state  = map { $_ => role_state($other, $_) } qw(app_user queued_user);

	rename $path, "$path.away" or die;
	my $old = sql($other, q{SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'rotor worker'});
	sql($other, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rotor worker'});
	poll_until(sub { sql($other, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND backend_start > '$old'") eq '2' })
	  or die 'the workers did not come back';
	rotate_fails($other, 'app_user', '58P01', qr/missing/, 'rotate()');
	sql($other, q{SELECT rotor.rotate('queued_user', wait => false)});
	ok(poll_until(sub { sql($other, q{SELECT count(*) FROM rotor.rotations WHERE error_code = '58P01' AND finished_at IS NULL AND attempt > 0}) eq '2' }),
		'both rotations wait, and their rows say for what');
	is(role_state($other, $_), $state{$_}, "role $_ is as it was") for qw(app_user queued_user);
	rename "$path.away", $path or die;
	for my $role (qw(app_user queued_user))
	{
		ok(poll_until(sub { active_rotations($other, $role) eq '0' }), "$role: the rotation goes on by itself");
		is(last_rotation($other, $role, 'status'), 'success', "$role: and succeeds");
		cannot_log_in($other, $role, $former{$role}, "$role: the former password logs in no more");
		assert_invariants($other, $role, $role);
	}

	# The key goes away between create and set: the value is sealed, and cannot be opened by who comes then.
	my $holder = holder($other, q{SELECT 1 FROM pg_authid WHERE rolname = 'app_user' FOR UPDATE});
	my $call = start_call($other, q{SELECT status FROM rotor.rotate('app_user')});
	my $worker = wait_for_worker($other, 'app_user');
	waits_for_lock($other, $worker);
	%state = (app_user => role_state($other, 'app_user'));
	rename $path, "$path.away" or die;
	$old = sql($other, q{SELECT now()});
	sql($other, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rotor worker'});
	end_call($call);
	let_go($holder);
	ok(poll_until(sub { last_rotation($other, 'app_user', 'error_code') eq '58P01' }), 'step set waits for the key, too');
	is(role_state($other, 'app_user'), $state{app_user}, 'the role is as it was');
	rename "$path.away", $path or die;
	ok(poll_until(sub { active_rotations($other, 'app_user') eq '0' }), 'the rotation goes on by itself');
	is(last_rotation($other, 'app_user', 'status'), 'success', 'and succeeds');
	assert_invariants($other, 'app_user', 'at the end');
	$other->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# Several keys

subtest 'a new master key: append it, rewrap_keys(), remove the old one' => sub {
	my $password = current_password($node, 'app_user');
	my $previous = password_of($node, 'app_user', 'previous');
	my $new_key  = key_line('second');

	write_file($file, $key_text . $new_key);
	is(current_password($node, 'app_user') eq $password ? 1 : 0, 1, 'with both keys, reading works');
	rotate_ok($node, 'app_user', 'with both keys, rotate()');
	($previous, $password) = ($password, current_password($node, 'app_user'));
	is(sql($node, 'SELECT rotor.rewrap_keys()'), '2', 'rewrap_keys() moves both data keys');
	is(sql($node, 'SELECT string_agg(DISTINCT master_key_id, $$ $$) FROM rotor.data_key'), 'second', 'all are wrapped by the new one');
	is(sql($node, 'SELECT rotor.rewrap_keys()'), '0', 'once more: there is nothing to move');
	is(sql($node, q{SELECT count(*) FROM rotor.audit_log WHERE event ~ 'rewrap'}) > 0 ? 1 : 0, 1, 'the audit tells of it');

	write_file($file, $new_key);
	is(current_password($node, 'app_user') eq $password ? 1 : 0, 1, 'without the old key, reading works');
	is(password_of($node, 'app_user', 'previous') eq $previous ? 1 : 0, 1, 'the previous version too');
	rotate_ok($node, 'app_user', 'without the old key, rotate()');
	assert_invariants($node, 'app_user', 'with the new key');

	# The wrong order: the old key is removed first.
	my $rows = sql($node, 'SELECT md5(string_agg(d::text, $$ $$ ORDER BY id)) FROM rotor.data_key d');
	write_file($file, key_line('third'));
	fails($node, 'SELECT rotor.rewrap_keys()', '58P01', qr/second/, 'rewrap_keys() without the old key');
	is(sql($node, 'SELECT md5(string_agg(d::text, $$ $$ ORDER BY id)) FROM rotor.data_key d'), $rows, 'changes nothing');
	write_file($file, $new_key);
	assert_invariants($node, 'app_user', 'when the old key is back');
	$key_text = $new_key;

	sql($node, 'CREATE ROLE plain_user LOGIN');
	sql($node, 'GRANT USAGE ON SCHEMA rotor TO plain_user; GRANT EXECUTE ON FUNCTION rotor.rewrap_keys() TO plain_user' =~ s/; /;\n/r);
	fails($node, "SET ROLE plain_user;\nSELECT rotor.rewrap_keys()", '42501', undef, 'rewrap_keys() by a role that may EXECUTE it');
};

#---------------------------------------------------------------------------------------------------------------------
# A key command

my $script = "$folder/keys.sh";
my $asked  = "$folder/asked";

# The command notes what it is asked for, then does as told.
sub set_command
{
	my ($body) = @_;

	write_file($script, "#!/bin/sh\necho \"\$*\" >>'$asked'\n$body\n", 0700);
	unlink $asked;
	append_to_file($asked, '');
	set_conf($node, 'rotor.key_command' => "$script %k 100%%");
}

subtest 'rotor.key_command' => sub {
	my $password = current_password($node, 'app_user');
	my ($hex)    = $key_text =~ /:([0-9a-f]+)/;
	my $newer    = key_line('from_command');
	chomp $newer;

	set_command("case \$1 in second) echo second:$hex;; newest|from_command) echo $newer;; *) exit 7;; esac");
	is(current_password($node, 'app_user') eq $password ? 1 : 0, 1, 'it is asked for the key that is needed');
	is(slurp_file($asked), "second 100%\n", '%k is the id, %% a percent sign');
	unlink $file;
	rotate_ok($node, 'app_user', 'rotate() needs no file');
	is(-e $file ? 1 : 0, 0, 'and makes none');
	is(sql($node, 'SELECT rotor.rewrap_keys()'), '2', 'rewrap_keys() moves to the newest');
	like(slurp_file($asked), qr/^newest 100%$/m, 'for which the command was asked');
	assert_invariants($node, 'app_user', 'with a key command');
	$password = current_password($node, 'app_user');
	my $state = role_state($node, 'app_user');

	my $broken = sub {
		my ($name, $body, $sqlstate, $pattern) = @_;

		set_command($body);
		my $error = fails($node, q{SELECT rotor.get_secret('app_user') IS NULL}, $sqlstate, $pattern, "$name: get_secret()");
		unlike($error->{err}, qr/[0-9a-f]{64}/, "$name: what it printed is not shown");
		ok($error->{hint}, "$name: there is a remedy");
		rotate_fails($node, 'app_user', $sqlstate, $pattern, "$name: rotate()");
		is(role_state($node, 'app_user'), $state, "$name: the role is as it was");
		like(health_of($node, 'key'), qr/^error/, "$name: health() finds it");
		set_command("echo $newer");
		is(current_password($node, 'app_user') eq $password ? 1 : 0, 1, "$name: afterwards reading works");
		rotate_ok($node, 'app_user', "$name: afterwards rotate()");
		$password = current_password($node, 'app_user');
		$state = role_state($node, 'app_user');
	};
	$broken->('a command that fails',             'exit 7',                        '58P01', qr/gave no key.*exit code 7/s);
	$broken->('a command that prints, then fails', "echo $newer; exit 1",          '58P01', qr/gave no key/);
	$broken->('a command that is not there',      "rm '$script'; exec /nonexistent", '58P01', qr/gave no key/);
	$broken->('a command that kills itself',      'kill -9 $$',                    '58P01', qr/gave no key/);
	$broken->('a command that prints nothing',    ':',                             'F0000', qr/there is no master key/);
	$broken->('a command that prints garbage',    'echo -n x; head -c 200 /dev/urandom',      'F0000', qr/line/);
	$broken->('a command that prints too much',   'yes 0123456789 | head -c 200000', 'F0000', qr/65536/);
	$broken->('a command that prints another key', 'echo ' . key_line('other') =~ s/\n//r, '58P01', qr/from_command/);
	$broken->('a command that prints another key of the id', 'echo ' . key_line('from_command') =~ s/\n//r, '58P01', qr/not the one/);

	# An id is checked before it comes near a shell.
	my $row = sql($node, 'SELECT id FROM rotor.data_key WHERE active');
	set_command("echo $newer");
	for my $id ('$(touch ' . "$folder/hacked)", "; touch $folder/hacked", "a\ntouch $folder/hacked", '../x', 'x y', '')
	{
		(my $quoted = $id) =~ s/'/''/g;
		sql($node, "UPDATE rotor.data_key SET master_key_id = '$quoted'");
		unlink $asked;
		append_to_file($asked, '');
		ok(!attempt($node, q{SELECT rotor.get_secret('app_user') IS NULL})->{ok}, 'a hostile key id in the table is refused');
		is(slurp_file($asked), '', 'and never reaches the command');
	}
	is(-e "$folder/hacked" ? 1 : 0, 0, 'nothing was executed');
	sql($node, q{UPDATE rotor.data_key SET master_key_id = 'from_command'});
	is(current_password($node, 'app_user') eq $password ? 1 : 0, 1, 'the right id reads');

	# A command that hangs.
	set_command('sleep 90; exit 1');
	my $started = time;
	fails($node, "SET statement_timeout = '1s';\nSELECT rotor.get_secret('app_user') IS NULL", '57014', undef, 'a command that hangs can be cancelled');
	cmp_ok(time - $started, '<', 60, 'at once');
	unlink $asked;
	my $call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	ok(poll_until(sub { -s $asked }), 'a worker waits for the command');
	$started = time;
	$node->stop('fast');
	cmp_ok(time - $started, '<', 60, 'a fast shutdown is not held up by it');
	ok(!end_call($call)->{ok}, 'the caller is told');
	write_file($script, "#!/bin/sh\necho $newer\n", 0700);
	$node->start;
	is(role_state($node, 'app_user'), $state, 'the role is as it was');
	rotate_ok($node, 'app_user', 'after the restart, rotate()');
	assert_invariants($node, 'app_user', 'after the restart');
};

#---------------------------------------------------------------------------------------------------------------------
# Values are bound to their rows

subtest 'a sealed value opens in its own row only' => sub {
	rotate_ok($node, $_, "given a secret with a current and a previous version, $_") for qw(app_user other_user other_user);
	sql($node, 'CREATE TABLE keep AS SELECT * FROM rotor.version');
	my $back = 'UPDATE rotor.version v SET sealed = k.sealed, key_id = k.key_id, secret_id = k.secret_id FROM keep k WHERE k.id = v.id';
	my $one = sub { "(SELECT v.id FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name = '$_[0]' AND stage = '$_[1]' AND s.deleted_at IS NULL)" };
	my $move = sub {
		my ($name, $sql, @reads) = @_;
		sql($node, $sql);
		for my $read (@reads)
		{
			my $error = fails($node, "SELECT $read IS NULL", 'XX001', qr/damaged/, "$name: $read");
			ok($error->{hint}, "$name: there is a remedy");
		}
		sql($node, $back);
	};

	$move->('the value of another secret',
		'UPDATE rotor.version v SET sealed = k.sealed FROM keep k WHERE v.id = ' . $one->('app_user', 'current') . ' AND k.id = ' . $one->('other_user', 'current'),
		q{rotor.get_secret('app_user')}, q{rotor.connection_uri('app_user')});
	$move->('the value of another version of the same secret',
		'UPDATE rotor.version v SET sealed = k.sealed FROM keep k WHERE v.id = ' . $one->('app_user', 'current') . ' AND k.id = ' . $one->('app_user', 'previous'),
		q{rotor.get_secret('app_user')});
	$move->('a version given to another secret',
		"UPDATE rotor.version SET stage = NULL WHERE id = " . $one->('other_user', 'previous')
		  . ";\nUPDATE rotor.version SET secret_id = (SELECT id FROM rotor.secret WHERE name = 'other_user'), stage = 'previous' WHERE id = " . $one->('app_user', 'previous'),
		q{rotor.get_secret('other_user', 'previous')});
	sql($node, "UPDATE rotor.version v SET stage = NULL WHERE v.stage = 'previous' AND v.secret_id = (SELECT id FROM rotor.secret WHERE name = 'app_user' AND deleted_at IS NULL)");
	$move->('one bit is another',
		'UPDATE rotor.version SET sealed = set_bit(sealed, 40, 1 - get_bit(sealed, 40)) WHERE id = ' . $one->('app_user', 'current'),
		q{rotor.get_secret('app_user')});
	$move->('the value is cut off',
		'UPDATE rotor.version SET sealed = substring(sealed FOR 5) WHERE id = ' . $one->('app_user', 'current'),
		q{rotor.get_secret('app_user')});
	$move->('the other data key',
		'UPDATE rotor.version SET key_id = (SELECT id FROM rotor.data_key WHERE NOT active) WHERE id = ' . $one->('app_user', 'current'),
		q{rotor.get_secret('app_user')});
	assert_invariants($node, 'app_user', 'all back');

	# As the hint says: rotating gives a value that can be read.
	sql($node, 'UPDATE rotor.version SET sealed = set_bit(sealed, 40, 1 - get_bit(sealed, 40)) WHERE id = ' . $one->('app_user', 'current'));
	rotate_ok($node, 'app_user', 'a damaged current value: rotate()');
	assert_invariants($node, 'app_user', 'the new value');

	# A data key row that is damaged is not taken for a wrong master key.
	sql($node, 'CREATE TABLE keep_key AS SELECT * FROM rotor.data_key');
	sql($node, 'UPDATE rotor.data_key SET wrapped = set_bit(wrapped, 40, 1 - get_bit(wrapped, 40)) WHERE active');
	fails($node, q{SELECT rotor.get_secret('app_user') IS NULL}, 'XX001', qr/data key is damaged/, 'a damaged data key');
	my $state = role_state($node, 'app_user');
	rotate_fails($node, 'app_user', 'XX001', qr/data key is damaged/, 'a damaged data key: rotate()');
	is(role_state($node, 'app_user'), $state, 'a damaged data key: the role is as it was');
	sql($node, 'UPDATE rotor.data_key d SET wrapped = k.wrapped FROM keep_key k WHERE k.id = d.id');
	rotate_ok($node, 'app_user', 'the data key is back: rotate()');
	assert_invariants($node, 'app_user', 'the data key is back');
};

no_crash_in($node);
$node->stop;
done_testing();
