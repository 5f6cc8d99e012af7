# Disaster recovery: the key file is lost, and comes back from an envelope, by rotor and without it. What is hostile, wrong or
# somebody else's changes nothing.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use RotorCrash;
use RotorPages;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir('recovery');
my $file   = "$folder/master.key";

sub write_file
{
	my ($path, $text, $mode) = @_;

	unlink $path;
	append_to_file($path, $text);
	chmod $mode // 0600, $path or die "$path: $!";
}

sub run_openssl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'openssl', @_ ], '<', \undef, '>', \$out, '2>', \$err) or die "openssl @_: $err";
	return $out;
}

# A certificate and its private key, in files that are named after it.
sub certificate
{
	my ($name, @key) = @_;
	run_openssl('req', '-x509', '-newkey', @key, '-noenc', '-days', 30, '-subj', "/CN=$name/O=rotor's tests", '-keyout', "$folder/$name.pem",
		'-out', "$folder/$name.crt");
	chmod 0600, "$folder/$name.pem";
	return slurp_file("$folder/$name.crt");
}

sub quoted
{
	my ($text) = @_;
	return "'" . ($text =~ s/'/''/gr) . "'";
}

sub export_ok
{
	my ($node, $certificate, $name) = @_;
	return succeeds($node, 'SELECT rotor.export_keys(' . quoted($certificate) . ')', $name)->{out};
}

sub import_of
{
	my ($envelope, $key) = @_;
	return 'rotor.import_keys(' . quoted($envelope) . ", '$folder/$key.pem')";
}

sub ids_in
{
	my ($text) = @_;
	return join ' ', $text =~ /^([^#:\n]+):/mg;
}

my $node = new_cluster('recovery', conf => "rotor.key_file = '$file'\n");
sql($node, q{CREATE ROLE app_user LOGIN});
my $rsa   = certificate('keeper', 'rsa:2048');
my $curve = certificate('curve', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256');

fails($node, 'SELECT rotor.export_keys(' . quoted($rsa) . ')', '58P01', qr/no master key/, 'before there is a key, export_keys()');
sql($node, "SET client_min_messages = warning;\nSELECT rotor.add_master_key('one')");
rotate_ok($node, 'app_user', 'given a value') for 1 .. 2;
sql($node, "SET client_min_messages = warning;\nSELECT rotor.add_master_key('two')");
sql($node, 'SELECT rotor.rotate_data_key()');
sql($node, "SET client_min_messages = warning;\nSELECT rotor.add_master_key('unneeded')");
sql($node, "SET client_min_messages = warning;\nSELECT rotor.add_master_key('newest')");
rotate_ok($node, 'app_user', 'and one under another data key');
is(sql($node, 'SELECT string_agg(master_key_id, $$ $$ ORDER BY created_at) FROM rotor.data_key'), 'one two', 'given data keys under two master keys');
my $text = slurp_file($file);
my $password = current_password($node, 'app_user');
is(ids_in($text), 'one two unneeded newest', 'and more in the file');

#---------------------------------------------------------------------------------------------------------------------
# Out

my %envelope;
subtest 'the envelope holds what is needed, and shows nothing' => sub {
	for my $case ([ keeper => $rsa ], [ curve => $curve ])
	{
		my ($name, $certificate) = @$case;

		$envelope{$name} = export_ok($node, $certificate, "export_keys() for $name");
		like($envelope{$name}, qr/\Arotor master keys\b.*openssl cms -decrypt.*^-----BEGIN CMS-----\n.*^-----END CMS-----\s*\z/ms, 'it says how to open it');
		unlike($envelope{$name}, qr/$_/, 'no key is in the open') for $text =~ /:([0-9a-f]{64})$/mg;
		write_file("$folder/$name.cms", $envelope{$name});
		my $content = run_openssl('cms', '-decrypt', '-inform', 'PEM', '-in', "$folder/$name.cms", '-inkey', "$folder/$name.pem");
		is(ids_in($content), 'two one newest', "openssl opens it: the keys that are needed, and the newest as the last");
		is(join('', sort $content =~ /^.*\n/mg), join('', sort grep { !/^unneeded/ } $text =~ /^.*\n/mg), 'and they are those of the file');
		my $fingerprint = lc run_openssl('x509', '-in', "$folder/$name.crt", '-noout', '-fingerprint', '-sha256') =~ s/.*=|[:\n]//gr;
		is(sql($node, q{SELECT actor, detail ->> 'subject', detail ->> 'fingerprint', detail ->> 'master_keys' FROM rotor.audit_log WHERE event = 'keys_exported' ORDER BY at DESC, id DESC LIMIT 1}),
			qq{postgres|O=rotor's tests,CN=$name|$fingerprint|["two", "one", "newest"]}, 'the audit tells for whom');
	}
	my $log = slurp_file($node->logfile);
	like($log, qr/rotor: event="export_keys" .*result="ok"/, 'so does the log');
};

sub refused
{
	my ($name, $call, $sqlstate, $pattern) = @_;
	my $before = -e $file ? slurp_file($file) : 'none';

	subtest $name => sub {
		my $error = fails($node, "SELECT $call", $sqlstate, $pattern, $name);
		ok($error->{hint}, 'there is a remedy');
		unlike($error->{err} =~ s/^LINE.*//msr, qr/[0-9a-f]{64}/, 'no key is shown');
		is(-e $file ? slurp_file($file) : 'none', $before, 'the key file is as it was');
	};
}

refused('what is no certificate', q{rotor.export_keys('nonsense')}, '22023', qr/no X\.509 certificate/);
refused('two certificates', 'rotor.export_keys(' . quoted("$rsa$curve") . ')', '22023', qr/more than one/);
refused('a weak certificate', 'rotor.export_keys(' . quoted(certificate('weak', 'rsa:1024')) . ')', '22023', qr/1024 bits is too weak/);
refused('a certificate of a key that only signs', 'rotor.export_keys(' . quoted(certificate('signs', 'ed25519')) . ')', '22023', qr/another kind/);

#---------------------------------------------------------------------------------------------------------------------
# Back: the disaster

for my $name (sort keys %envelope)
{
	subtest "the key file is lost, and comes back by the private key of $name" => sub {
		unlink $file;
		fails($node, q{SELECT rotor.get_secret('app_user') IS NULL}, '58P01', qr/"two"/, 'without it, nobody reads');
		fails($node, 'SELECT rotor.export_keys(' . quoted($rsa) . ')', '58P01', qr/"(?:one|two)"/, 'nor exports');
		is(sql($node, 'SELECT ' . import_of($envelope{$name}, $name)), '3', 'import_keys() adds the keys');
		is(ids_in(slurp_file($file)), 'two one newest', 'in their order');
		is(sprintf('%o', (stat $file)[2] & 07777), '600', 'the file is for nobody else');
		is(current_password($node, 'app_user') eq $password ? 'same' : 'other', 'same', 'the value can be read');
		is(password_of($node, 'app_user', 'previous') ne '' ? 'there' : '', 'there', 'that of the other data key too');
		assert_invariants($node, 'app_user', 'when the file is back');
		is(sql($node, q{SELECT detail ->> 'master_keys' FROM rotor.audit_log WHERE event = 'keys_imported' ORDER BY at DESC, id DESC LIMIT 1}), '["two", "one", "newest"]', 'the audit tells of it');
		is(sql($node, 'SELECT ' . import_of($envelope{$name}, $name)), '0', 'once more: there is nothing to add');
	};
}

subtest 'without rotor, openssl makes a key file of it' => sub {
	unlink $file;
	run_openssl('cms', '-decrypt', '-inform', 'PEM', '-in', "$folder/keeper.cms", '-inkey', "$folder/keeper.pem", '-out', $file);
	chmod 0600, $file;
	is(current_password($node, 'app_user') eq $password ? 'same' : 'other', 'same', 'the value can be read');
	assert_invariants($node, 'app_user', 'when the file is back');
};

subtest 'keys that are missing come before those that are there' => sub {
	my ($two) = $text =~ /^(two:.*\n)/m;
	my ($newest) = $text =~ /^(newest:.*\n)/m;

	write_file($file, "# what is left\n$two" . "later:" . ('ab' x 32) . "\n");
	fails($node, 'SELECT rotor.rewrap_keys()', '58P01', qr/"one"/, 'given a file that lacks a key that is needed');
	is(sql($node, 'SELECT ' . import_of($envelope{keeper}, 'keeper')), '2', 'import_keys() adds what is missing');
	is(ids_in(slurp_file($file)), 'one newest two later', 'before what is there: the newest stays the newest');
	like(slurp_file($file), qr/\A# what is left\n/, 'and all else stays');
	assert_invariants($node, 'app_user', 'after that');
};

#---------------------------------------------------------------------------------------------------------------------
# What is not taken

write_file($file, $text);
my $two = 'two:' . ('cd' x 32) . "\n";

# An envelope that somebody made by himself.
sub made_by_hand
{
	my ($content) = @_;
	write_file("$folder/content", $content);
	return run_openssl('cms', '-encrypt', '-aes-256-gcm', '-binary', '-outform', 'PEM', '-in', "$folder/content", "$folder/keeper.crt");
}

my ($one_line) = $text =~ /^(one:.*\n)/m;
is(sql($node, 'SELECT ' . import_of(made_by_hand("${one_line}by_hand:" . ('ef' x 32)), 'keeper')), '1', 'an envelope made by hand is taken, if its maker knew a key');
like(slurp_file($file), qr/\Aby_hand:/, 'and its key is there, as the oldest');
write_file($file, $text);

refused('an envelope for somebody else', import_of($envelope{keeper}, 'curve'), '58P01', qr/does not open/);
refused('an envelope of a stranger', import_of(made_by_hand("stranger:" . ('ef' x 32)), 'keeper'), '22023', qr/no master key that is known here/);
refused('another key of an id that is there', import_of(made_by_hand("$one_line$two"), 'keeper'), '22023', qr/"two"/);
write_file($file, $text =~ s/^two:.*\n//mr);
refused('a key that the data keys contradict', import_of(made_by_hand("$one_line$two"), 'keeper'), '22023', qr/"two" of the envelope is not the one that was used/);
write_file($file, $text);
refused('another key of an id that is in the file only', import_of(made_by_hand("${one_line}unneeded:" . ('ef' x 32)), 'keeper'), '22023', qr/"unneeded" is there already, and is another one/);
refused('what is no key file', import_of(made_by_hand("hello\n"), 'keeper'), 'F0000', qr/line 1/);
refused('an envelope that is cut off', import_of(substr($envelope{keeper}, 0, 900), 'keeper'), '22023', qr/no CMS envelope/);
refused('an envelope that is empty', import_of('', 'keeper'), '22023', qr/no CMS envelope/);
refused('one that is too large', "rotor.import_keys(repeat('x', 300000), '$folder/keeper.pem')", '22023', qr/longer than/);
refused('one whose content is too large', import_of(made_by_hand("# x\n" x 20000), 'keeper'), '54000', qr/does not fit/);
write_file("$folder/content", $text);
refused('one that is not authenticated', import_of(run_openssl('cms', '-encrypt', '-aes-256-cbc', '-binary', '-outform', 'PEM', '-in', "$folder/content", "$folder/keeper.crt"), 'keeper'),
	'22023', qr/no authenticated envelope/);
refused('a private key that is not there', import_of($envelope{keeper}, 'nowhere'), '58P01', qr/no private key file/);
chmod 0644, "$folder/keeper.pem";
refused('a private key that others can read', import_of($envelope{keeper}, 'keeper'), 'F0000', qr/readable by others/);
chmod 0600, "$folder/keeper.pem";
run_openssl('pkey', '-in', "$folder/keeper.pem", '-aes-256-cbc', '-passout', 'pass:word', '-out', "$folder/locked.pem");
chmod 0600, "$folder/locked.pem";
refused('a private key with a passphrase', import_of($envelope{keeper}, 'locked'), '22023', qr/no private key in PEM/);
write_file($file, $text =~ s/^one:.*\n//mr . 'x' x (65535 - length $text));
refused('a file that is damaged', import_of($envelope{keeper}, 'keeper'), 'F0000', qr/line \d/);
write_file($file, $text);
set_conf($node, 'rotor.key_command' => "cat '$file'");
refused('a key command', import_of($envelope{keeper}, 'keeper'), '55000', qr/openssl cms -decrypt/);
is(ids_in(do { write_file("$folder/c.cms", export_ok($node, $rsa, 'export_keys() with a key command')); run_openssl('cms', '-decrypt', '-inform', 'PEM', '-in', "$folder/c.cms", '-inkey', "$folder/keeper.pem") }),
	'two one newest', 'which export_keys() asks for each key');
set_conf($node, 'rotor.key_command' => '');
assert_invariants($node, 'app_user', 'after all that');

#---------------------------------------------------------------------------------------------------------------------
# A cluster that has nothing yet

subtest 'into a cluster without keys they come as they are' => sub {
	my $other = new_cluster('recovery_new', conf => "rotor.key_file = '$folder/new.key'\n");
	is(sql($other, 'SELECT ' . import_of($envelope{curve}, 'curve')), '3', 'import_keys()');
	is(ids_in(slurp_file("$folder/new.key")), 'two one newest', 'in their order');
	sql($other, 'CREATE ROLE app_user LOGIN');
	rotate_ok($other, 'app_user', 'the first rotation');
	is(sql($other, 'SELECT master_key_id FROM rotor.data_key'), 'newest', 'uses the newest');
	$other->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# docs/keys.md, from its beginning to its end

subtest 'docs/keys.md does what it says' => sub {
	my $other  = new_cluster('recovery_page', conf => "rotor.key_file = '$folder/page.key'\n");
	my @blocks = blocks_of('docs/keys.md');
	mkdir "$folder/server", 0700 or die;
	my $run = sub {
		my ($block) = @_;
		my $text = $block->{text} =~ s{/var/lib/postgresql}{$folder/server}gr =~ s/-out rotor\.key/-out page.key/r;
		# A human types the passphrase of the keeper's key.
		$text =~ s/(openssl req .*)/$1 -passout pass:keeper/;
		$text =~ s/(openssl (?:pkey|cms -decrypt) .*)/$1 -passin pass:keeper/;
		my $result = $block->{language} eq 'sql' ? attempt($other, $text) : run_sh($other, "cd '$folder'\numask 077\n$text");
		ok($result->{ok}, "line $block->{line}: $block->{first}") or diag $result->{err};
		return $result->{out};
	};

	sql($other, 'CREATE ROLE app_user LOGIN');
	rotate_ok($other, 'app_user', 'given a value') for 1 .. 2;
	my ($first) = ids_in(slurp_file("$folder/page.key"));
	like($run->(shift @blocks), qr/^[^|]+\|\Q$first\E\|active\|2\|0\z/, 'where it stands');
	my $second = $run->(shift @blocks);
	is(ids_in(slurp_file("$folder/page.key")), "$first $second", 'a new master key');
	is($run->(shift @blocks), '1', 'the data key is moved');
	is($run->(shift @blocks), "master_key|$first", 'the old one is not needed any more');
	$run->(shift @blocks);
	is(ids_in(slurp_file("$folder/page.key")), $second, 'and is gone');
	my $data_key = sql($other, 'SELECT id FROM rotor.data_key');
	$run->(shift @blocks);
	is($run->(shift @blocks), '2', 'a new data key: all values are moved');
	is($run->(shift @blocks), "data_key|$data_key", 'the old one is gone');
	$run->($_) for splice @blocks, 0, 2;
	unlike(slurp_file("$folder/keys.cms"), qr/[0-9a-f]{64}/, 'an envelope: nothing is in the open');
	unlink "$folder/page.key";
	like($run->(shift @blocks), qr/\b1\b/, 'the disaster: the key comes back');
	assert_invariants($other, 'app_user', 'after the disaster');
	unlink "$folder/page.key";
	$run->(shift @blocks);
	chmod 0600, "$folder/page.key";
	assert_invariants($other, 'app_user', 'after the disaster, without rotor');
	is(scalar @blocks, 0, 'every block was run');
	$other->stop;
};

unlike(slurp_file($node->logfile), qr/:[0-9a-f]{64}/, 'no key reaches the log');
no_crash_in($node);
$node->stop;
done_testing();
