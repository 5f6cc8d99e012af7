# What docs/backup.md and docs/operations.md (55006) say of secrets outside when the control database has lost what it knew: a
# standby that was behind is promoted, and targets and stores have versions that it does not know. A target with an admin is
# rotated as ever; a store is not overwritten, nor is its target changed, until its value is taken over or removed there.
use strict;
use warnings;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorOutside;
use RotorTest;
use Test::More;

my $keys    = PostgreSQL::Test::Utils::tempdir('keys') . '/rotor.key';
my $file    = PostgreSQL::Test::Utils::tempdir('store') . '/secrets.json';
my $target  = new_cluster('target', extension => 0);
my $primary = new_cluster('control_0', preload => 1, init => { allows_streaming => 1 },
	hba  => [ 'local replication postgres trust', 'host all all 127.0.0.1/32 scram-sha-256' ],
	conf => "rotor.key_file = '$keys'\nrotor.poll_interval = '200ms'\n");
my $standby = PostgreSQL::Test::Cluster->new('control_1');
my @all = qw(by_admin in_store);

sql($target, "CREATE ROLE $_ LOGIN") for @all;
give_boss($primary, $target);
my $password = write_password($primary);
add_outside_policy($primary, 'quick');
add_target($primary, 'second', port => $target->port, admin => 'boss');
sql($primary, "INSERT INTO rotor.store (name, type, options) VALUES ('file', 'file', '{\"path\": \"$file\"}')");
sql($primary, q{SELECT rotor.manage('by_admin', policy => 'quick', target => 'second'); SELECT rotor.manage('in_store', policy => 'quick', target => 'second', store => 'file')});
my $worker = start_worker('worker', 'control-host' => '127.0.0.1,127.0.0.1', 'control-port' => join(',', $primary->port, $standby->port),
	'password-file' => $password);

sub ends_as
{
	my ($node, $id, $end, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $ended = q{SELECT status || ' ' || coalesce(error_code, '') FROM rotor.rotations WHERE finished_at IS NOT NULL AND id = };

	return ok(poll_until(sub { sql($node, "$ended '$id'") eq $end }), $name) || (diag(unfinished($node), sql($node, "$ended '$id'")), 0)[1];
}

sub rotate
{
	my ($node, $secret) = @_;
	return sql($node, "SELECT id FROM rotor.rotate('$secret', wait => false)");
}

ends_as($primary, rotate($primary, $_), 'success ', "given a secret, $_") for @all;
$primary->backup('one');
$standby->init_from_backup($primary, 'one', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\n");
$standby->start;
$primary->wait_for_catchup($standby->name, 'replay', $primary->lsn('flush'));
set_conf($standby, 'primary_conninfo' => '');
poll_until(sub { sql($standby, 'SELECT count(*) FROM pg_stat_wal_receiver') eq '0' }) or die 'the standby is not cut off';
ends_as($primary, rotate($primary, $_), 'success ', "and a version of $_ that the standby never hears of") for @all, @all;
my (undef, $lost) = published_in_file($file, 'in_store');
$primary->kill9;
$standby->promote;
ok(poll_until(sub { is_ready($worker) }), 'given the standby as the new primary');
cannot_log_in($target, $_, current_password($standby, $_), "what it knows of $_ does not log in") for @all;
logs_in($target, 'in_store', $lost, 'and what the store has does');

ends_as($standby, rotate($standby, 'by_admin'), 'success ', 'where an admin changes the account, it is rotated as ever');
logs_in($target, 'by_admin', current_password($standby, 'by_admin'), 'and what is current logs in');

my $id = rotate($standby, 'in_store');
ends_as($standby, $id, 'failed 55006', 'a store that has a version unknown to rotor is left alone');
is(sql($standby, "SELECT dead_letter || ' ' || step FROM rotor.rotations WHERE id = '$id'"), 'true publish', 'it is a dead letter, from before the target was changed');
is((published_in_file($file, 'in_store'))[1] eq $lost ? 1 : 0, 1, 'the store has what it had');
logs_in($target, 'in_store', $lost, 'which logs in still');
sql($standby, "SELECT rotor.requeue('$id')");
ends_as($standby, $id, 'failed 55006', 'requeuing it changes nothing');
ends_as($standby, rotate($standby, 'in_store'), 'failed 55006', 'nor does another rotation');
logs_in($target, 'in_store', $lost, 'what the store has goes on working');

{
	my ($out, $err) = ('', '');
	IPC::Run::run([ the_program(), 'set', '--from-store', 'in_store', '--config=/dev/null', '--control-host=' . $standby->host,
		'--control-port=' . $standby->port, '--control-user=postgres' ], '<', \undef, '>', \$out, '2>', \$err);
	is("$out$err", "adopted\n", 'until rotor takes over what the store has');
}
ok(current_password($standby, 'in_store') eq $lost, 'which is what it knows then');
ends_as($standby, rotate($standby, 'in_store'), 'success ', 'and rotates');
my $value = current_password($standby, 'in_store');
logs_in($target, 'in_store', $value, 'what is current logs in');
is((published_in_file($file, 'in_store'))[1] eq $value ? 1 : 0, 1, 'and is what the store has');

sub change_store
{
	my ($change) = @_;
	my $content = JSON::PP::decode_json(slurp_file($file));

	$change->($content);
	open my $out, '>', $file or die "$file: $!";
	print $out JSON::PP::encode_json($content);
	close $out;
	return;
}

change_store(sub { $_[0]{in_store}{current} = { username => 'in_store', password => "nobody's" } });
ends_as($standby, rotate($standby, 'in_store'), 'failed 55006', 'given a value at the store that is nobody\'s, nothing is changed');
logs_in($target, 'in_store', $value, 'and the account has the value that rotor knows');
change_store(sub { delete $_[0]{in_store} });
ends_as($standby, rotate($standby, 'in_store'), 'success ', 'once the secret is removed from the store, it is published anew');
$value = current_password($standby, 'in_store');
logs_in($target, 'in_store', $value, 'what is current logs in');
is((published_in_file($file, 'in_store'))[1] eq $value ? 1 : 0, 1, 'and is what the store has');

is(end_worker($worker), 0, 'the worker ends as it should');
no_crash_in($_) for $standby, $target;
done_testing();
