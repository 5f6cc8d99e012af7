# Master keys that rotor adds to its key file itself: nothing of the file is lost, whoever asks at the same time, and
# wherever a crash comes in between.

use strict;
use warnings;
use Cwd qw(realpath);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use RotorCrash;
use Test::More;

my $folder = realpath(PostgreSQL::Test::Utils::tempdir('master_keys'));
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

# The ids of a key file's lines, in their order.
sub ids_in
{
	my ($path) = @_;
	return join ' ', slurp_file($path) =~ /^([^#:\n]+):/mg;
}

# Nothing is left of values that only this process could open.
sub reads
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	assert_invariants($node, 'app_user', $name);
}

my $node = new_cluster('master_keys', conf => "rotor.key_file = '$file'\nrestart_after_crash = on\n", start => 0);
my $notes = PostgreSQL::Test::Utils::tempdir('notes');
{
	local %ENV = (%ENV, LD_PRELOAD => build_module('crash_at'), ROTOR_CRASH_FOLDER => $folder, ROTOR_CRASH_NOTES => $notes);
	$node->start;
}
sql($node, 'CREATE EXTENSION rotor');
sql($node, 'CREATE ROLE app_user LOGIN');

#---------------------------------------------------------------------------------------------------------------------
# What a new key does to the file

subtest 'the first key of all may come from add_master_key()' => sub {
	is(sql($node, q{SELECT rotor.add_master_key('first')}), 'first', 'it answers with the id');
	is(ids_in($file), 'first', 'the file has the key');
	is(sprintf('%o', (stat $file)[2] & 07777), '600', 'and is for nobody else');
	rotate_ok($node, 'app_user', 'the first rotation');
	is(sql($node, 'SELECT master_key_id FROM rotor.data_key'), 'first', 'uses it');
};

subtest 'a new key is appended, and all else stays' => sub {
	my $text = "# kept by hand\r\n\n" . slurp_file($file) . "# more to come";

	write_file($file, $text, 0400);
	my $result = succeeds($node, q{SELECT rotor.add_master_key()}, 'add_master_key()');
	like($result->{out}, qr/^key-[0-9a-f]{8}$/, 'it answers with an id of its own');
	like($result->{err}, qr/NOTICE:.*\Q$file\E.*HINT:.*standby.*rewrap_keys/s, 'and says where it is and what comes next');
	unlike($result->{err}, qr/[0-9a-f]{64}/, 'but not the key');
	like(slurp_file($file), qr/\A\Q$text\E\n\Q$result->{out}\E:[0-9a-f]{64}\n\z/, 'all of the old text is there, and then the key');
	is(sprintf('%o', (stat $file)[2] & 07777), '400', 'the mode is as it was');
	is(files_in($folder), 'master.key', 'nothing else is there');
	is(sql($node, q{SELECT actor, detail ->> 'master_key' FROM rotor.audit_log WHERE event = 'master_key_added' ORDER BY id DESC LIMIT 1}),
		"postgres|$result->{out}", 'the audit tells of it');
	like(slurp_file($node->logfile), qr/rotor: event="add_master_key" .*result="ok"/, 'so does the log');
	chmod 0600, $file;
	reads($node, 'with a new key that is not used yet');
	is(sql($node, 'SELECT rotor.rewrap_keys()'), '1', 'rewrap_keys() moves to it');
	is(sql($node, 'SELECT master_key_id FROM rotor.data_key'), $result->{out}, 'by its id');
	reads($node, 'under the new key');
};

subtest 'a key that was added stays, though the caller rolls back' => sub {
	sql($node, q{BEGIN; SELECT rotor.add_master_key('rolled_back'); ROLLBACK} =~ s/; /;\n/gr);
	like(ids_in($file), qr/ rolled_back$/, 'the file has it');
	reads($node, 'after the rollback');
};

subtest 'a link to a key file stays a link' => sub {
	my $elsewhere = realpath(PostgreSQL::Test::Utils::tempdir('elsewhere'));

	rename $file, "$elsewhere/real.key" or die;
	symlink "$elsewhere/real.key", $file or die;
	sql($node, q{SELECT rotor.add_master_key('linked')});
	ok(-l $file, 'it is a link');
	like(ids_in("$elsewhere/real.key"), qr/ linked$/, 'the file that it leads to has the key');
	is(files_in($elsewhere), 'real.key', 'and nothing is left beside it');
	rename "$elsewhere/real.key", "$file.new" or die;
	rename "$file.new", $file or die;
	reads($node, 'without the link');
};

#---------------------------------------------------------------------------------------------------------------------
# Refusals change nothing

sub refused
{
	my ($name, $call, $sqlstate, $pattern) = @_;
	my $before = -e $file ? slurp_file($file) : 'none';

	subtest $name => sub {
		my $error = fails($node, "SELECT $call", $sqlstate, $pattern, $call);
		ok($error->{hint}, 'there is a remedy');
		unlike($error->{err}, qr/[0-9a-f]{64}/, 'no key is shown');
		is(-e $file ? slurp_file($file) : 'none', $before, 'the file is as it was');
		unlike(files_in($folder), qr/tmp/, 'nothing is left beside it');
	};
}

my $text = slurp_file($file);
refused('an id that is there', q{rotor.add_master_key('first')}, '42710', qr/"first" exists/);
refused('an id that is none',  q{rotor.add_master_key('a b')},   '22023', qr/character/);
refused('an empty id',         q{rotor.add_master_key('')},      '22023', qr/empty/);
refused('an id that is too long', q{rotor.add_master_key(repeat('x', 64))}, '22023', qr/longer/);

my ($wrapped_by) = sql($node, 'SELECT master_key_id FROM rotor.data_key');
write_file($file, $text =~ s/^\Q$wrapped_by\E:.*\n//mr);
refused('an id that data keys name, though its key is away', qq{rotor.add_master_key('$wrapped_by')}, '42710', qr/exists/);
write_file($file, $text . "nonsense\n");
refused('a file that is damaged', 'rotor.add_master_key()', 'F0000', qr/line \d+/);
write_file($file, $text, 0644);
refused('a file that others can read', 'rotor.add_master_key()', 'F0000', qr/readable by others/);
write_file($file, $text . ('#' x (65535 - length $text)));
refused('a file that is full', 'rotor.add_master_key()', '54000', qr/would not fit/);
unlink $file;
refused('a file that is away', 'rotor.add_master_key()', '58P01', qr/\Q$file\E/);
write_file($file, $text);
SKIP:
{
	skip 'a superuser of the operating system writes everywhere', 1 if $> == 0;
	chmod 0500, $folder;
	refused('a folder that cannot be written to', 'rotor.add_master_key()', '58P01', qr/could not write/);
	chmod 0700, $folder;
}
set_conf($node, 'rotor.key_command' => "cat '$file'");
refused('a key command', 'rotor.add_master_key()', '55000', qr/where the command finds it/);
set_conf($node, 'rotor.key_command' => '');
reads($node, 'after all that');

#---------------------------------------------------------------------------------------------------------------------
# Old keys go when nothing needs them

subtest 'a master key that nothing needs is listed, and removed' => sub {
	my $wrapped_by = sql($node, 'SELECT master_key_id FROM rotor.data_key');
	my $before = slurp_file($file);
	my @ids = split / /, ids_in($file);

	isnt($wrapped_by, $ids[-1], 'given a data key under a key that is not the newest');
	is(sql($node, 'SELECT kind, id FROM rotor.retire_keys()'),
		join("\n", map { "master_key|$_" } grep { $_ ne $wrapped_by && $_ ne $ids[-1] } @ids), 'retire_keys() lists all but that and the newest');
	is(slurp_file($file), $before, 'and leaves the file alone');
	my $result = succeeds($node, q{SELECT rotor.remove_master_key('rolled_back')}, 'remove_master_key()');
	like($result->{err}, qr/NOTICE:.*"rolled_back".*HINT:.*copy.*backup/s, 'says how long to keep it');
	is(slurp_file($file), $before =~ s/^rolled_back:.*\n//mr, 'its line is gone, and all else is there');
	is(sprintf('%o', (stat $file)[2] & 07777), '600', 'the file is for nobody else');
	is(files_in($folder), 'master.key', 'nothing else is there');
	is(sql($node, q{SELECT actor, detail ->> 'master_key' FROM rotor.audit_log WHERE event = 'master_key_removed'}), 'postgres|rolled_back', 'the audit tells of it');
	like(slurp_file($node->logfile), qr/rotor: event="remove_master_key" .*result="ok"/, 'so does the log');
	reads($node, 'without it');
};

{
	my $wrapped_by = sql($node, 'SELECT master_key_id FROM rotor.data_key');
	my ($newest) = ids_in($file) =~ /(\S+)$/;
	my $values = sql($node, 'SELECT count(*) FROM rotor.version');

	refused('a key that is needed', qq{rotor.remove_master_key('$wrapped_by')}, '2BP01', qr/is needed\nData keys that it wraps: 1, values that need them: $values\./);
	refused('the newest key', qq{rotor.remove_master_key('$newest')}, '2BP01', qr/newest/);
	refused('a key that is not there', q{rotor.remove_master_key('rolled_back')}, '42704', qr/"rolled_back"/);
	refused('what is no id', q{rotor.remove_master_key('a b')}, '22023', qr/character/);
	set_conf($node, 'rotor.key_command' => "cat '$file'");
	refused('a key of a key command', qq{rotor.remove_master_key('first')}, '55000', qr/where the command finds it/);
	is(sql($node, 'SELECT count(*) FROM rotor.retire_keys()'), '0', 'of a key command no master keys are listed');
	set_conf($node, 'rotor.key_command' => '');

	# What this transaction has done may yet be undone; the file would not be.
	for my $change ('SELECT rotor.rewrap_keys()', 'UPDATE rotor.data_key SET master_key_id = master_key_id', "SELECT rotor.rotate_data_key()")
	{
		refused("after '$change' in the same transaction", qq{1;\nBEGIN;\n$change;\nSELECT rotor.remove_master_key('$wrapped_by')}, $change =~ /rewrap/ ? '55000' : '2BP01', qr/./);
		refused("and a key that nothing needs, after '$change'", qq{1;\nBEGIN;\n$change;\nSELECT rotor.remove_master_key('first')}, '55000', qr/by this transaction/);
	}
	succeeds($node, "BEGIN;\nSAVEPOINT s;\nSELECT rotor.rewrap_keys();\nROLLBACK TO s;\nSELECT rotor.remove_master_key('first');\nCOMMIT", 'what was undone before does not count');
	unlike(ids_in($file), qr/\bfirst\b/, 'the key is gone');
	reads($node, 'after the refusals');
}

subtest 'a transaction elsewhere that moves data keys is waited for' => sub {
	my $wrapped_by = sql($node, 'SELECT master_key_id FROM rotor.data_key');
	my $holder = holder($node, 'SELECT rotor.rewrap_keys()');
	my $call = start_call($node, qq{SELECT rotor.remove_master_key('$wrapped_by')});

	ok(waits_for_lock($node, call_pid($node, $call)), 'remove_master_key() waits');
	let_go($holder);
	is(end_call($call)->{sqlstate}, '2BP01', 'and sees that it was undone');
	reads($node, 'after that');
};

#---------------------------------------------------------------------------------------------------------------------
# Several at once

subtest 'two who add a key do it one after the other' => sub {
	my $before = ids_in($file);
	my $first  = holder($node, qq{SET LOCAL client_min_messages = warning;\nSELECT rotor.add_master_key('one')});
	my $second = start_call($node, q{SELECT rotor.add_master_key('two')});

	ok(waits_for_lock($node, call_pid($node, $second)), 'the second waits for the first');
	is(ids_in($file), "$before one", 'whose key is there');
	rotate_ok($node, 'app_user', 'a rotation does not wait');
	reads($node, 'a read does not wait');
	let_go($first, 'COMMIT');
	is(end_call($second)->{out}, 'two', 'then the second adds its own');
	is(ids_in($file), "$before one two", 'and none is lost');
};

subtest 'many at once lose no key, and readers always find theirs' => sub {
	my $before = ids_in($file);
	my $reader = start_call($node, [ map { q{SELECT count(rotor.get_secret('app_user')) FROM generate_series(1, 200)} } 1 .. 5 ]);
	my @calls = map { start_call($node, [ map { 'SELECT rotor.add_master_key()' } 1 .. 5 ]) } 1 .. 4;
	my @added = map { split /\n/, end_call($_)->{out} } @calls;
	is(scalar @added, 20, 'all are answered');
	is(join(' ', sort split / /, ids_in($file)), join(' ', sort split(/ /, $before), @added), 'all keys are there');
	ok(end_call($reader)->{ok}, 'no read failed');
	reads($node, 'with twenty keys more');
};

#---------------------------------------------------------------------------------------------------------------------
# A crash before each call that changes the folder

# What the server does to the folder in one add_master_key(): "call file" each.
sub calls
{
	return -e "$notes/calls" ? map { s/\.\d+\.tmp/.PID.tmp/r } split /\n/, slurp_file("$notes/calls") : ();
}

unlink "$notes/calls";
sql($node, q{SELECT rotor.add_master_key('watched')});
my @calls = calls();
is_deeply(
	\@calls,
	[   'unlink master.key.PID.tmp', 'write master.key.PID.tmp', 'fsync master.key.PID.tmp', 'rename master.key', 'fsync .' ],
	'the new file is written and on disk before it is renamed, and then the folder is');

my $removes = 'first_to_go';
sql($node, "SELECT rotor.add_master_key('$removes')");
sql($node, q{SELECT rotor.add_master_key('the_newest')});
for my $n (1 .. @calls)
{
	subtest "remove_master_key() killed before '$calls[$n - 1]'" => sub {
		my $before = slurp_file($file);
		my $offset = -s $node->logfile;
		my $after  = $before =~ s/^\Q$removes\E:.*\n//mr;

		unlink "$notes/calls";
		append_to_file("$notes/at", $n);
		ok(!attempt($node, qq{SELECT rotor.remove_master_key('$removes')})->{ok}, 'the call does not return');
		unlink "$notes/at";
		server_is_back($node, $offset);
		is(slurp_file($file), $calls[$n - 2] =~ /^rename/ && $n > 1 ? $after : $before, 'the file is whole: the old one or the new one');
		write_file($file, $before);
		reads($node, 'after the crash');
		unlink glob("$file.*.tmp");
	};
}

for my $n (1 .. @calls)
{
	subtest "killed before '$calls[$n - 1]'" => sub {
		my $before = slurp_file($file);
		my $offset = -s $node->logfile;
		my ($renamed) = grep { $calls[$_] =~ /^rename/ } 0 .. $#calls;

		unlink "$notes/calls";
		append_to_file("$notes/at", $n);
		ok(!attempt($node, qq{SELECT rotor.add_master_key('killed_$n')})->{ok}, 'the call does not return');
		unlink "$notes/at";
		server_is_back($node, $offset);
		is(ids_in($file), join(' ', $before =~ /^([^#:\n]+):/mg, $n - 1 > $renamed ? "killed_$n" : ()), 'the file is whole: the old one or the new one');
		is(substr(slurp_file($file), 0, length $before), $before, 'and has all of the old text');
		is(sprintf('%o', (stat $file)[2] & 07777), '600', 'and is for nobody else');
		reads($node, 'after the crash');
		rotate_ok($node, 'app_user', 'after the crash, rotate()');
		succeeds($node, qq{SELECT rotor.add_master_key('again_$n')}, 'after the crash, add_master_key()');
		like(ids_in($file), qr/ again_$n$/, 'adds its key');
		is(sprintf('%o', (stat $_)[2] & 07777), '600', "what is left over is for nobody else: $_") for glob("$file.*.tmp");
		unlink glob("$file.*.tmp");
	};
}
is(sql($node, 'SELECT rotor.rewrap_keys()'), '1', 'after all crashes, rewrap_keys()');
reads($node, 'at the end');

unlike(slurp_file($node->logfile), qr/[0-9a-f]{64}/, 'no key reaches the log');
no_crash_in($node);
$node->stop;
done_testing();
