# Each call that an SQL function makes in its caller's own process fails, one after the other. Whichever it is, the statement
# fails with the SQLSTATE of what failed, nothing of it stays, and the session goes on.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use RotorFaults;
use RotorTest;
use Test::More;

my $node = faulty_cluster('callers');

# sweep(statement): a row for each n: the call that failed, none in the last row, and how the statement ended. It is undone
# each time; ZZ000 says that it had come to its end. Twice: what a session keeps is there the second time.
sql($node, <<'SQL');
CREATE ROLE app_user LOGIN;
CREATE ROLE gone LOGIN;
CREATE ROLE fresh LOGIN;
CREATE ROLE reader LOGIN;
CREATE FUNCTION sweep(statement text) RETURNS TABLE (pass int, n int, point text, state text, message text) LANGUAGE plpgsql AS $$
BEGIN
    FOR pass IN 1 .. 2 LOOP
        n := 0;
        LOOP
            n := n + 1;
            PERFORM set_config('rotor_test.fault', 'any:fail:' || n, false);
            BEGIN
                EXECUTE statement;
                RAISE EXCEPTION 'undone' USING ERRCODE = 'ZZ000';
            EXCEPTION WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
            END;
            point := current_setting('rotor_test.fired');
            PERFORM set_config('rotor_test.fault', '', false);
            RETURN NEXT;
            EXIT WHEN point = '';
        END LOOP;
    END LOOP;
END $$;
SELECT rotor.manage('gone');
SELECT rotor.unmanage('gone');
SQL
rotate_ok($node, 'app_user', 'without faults') for 1 .. 2;
sql($node, q{SELECT rotor.grant_access('app_user', 'reader', 'rotate')});

# What a failure changes nothing about: where there is no room for a worker now, there may be in a moment; a file that was left
# by nobody need not be removed; and what health() is there to find it tells as a finding, see below.
my $always_passes = qr/^RegisterDynamicBackgroundWorker$/;
my %passes = (
	'rotor.add_master_key()' => qr/^unlink$/,
	'* FROM rotor.health()'  => qr/^(SPI_prepare|SPI_execute_snapshot|table_open|palloc|OpenTransientFile|fstat|read|HMAC|EVP_\w+)$/,
);

# least: so many calls there are at least, in both passes.
my @statements = (
	[ "rotor.get_secret('app_user')",                           25 ],
	[ "rotor.connection_uri('app_user')",                       100 ],
	[ "rotor.describe('app_user')",                             8 ],
	[ 'rotor.generate_password()',                              2 ],
	[ "rotor.generate_password('default')",                     6 ],
	[ 'rotor.generate_hex()',                                   4 ],
	[ 'rotor.generate_uuid()',                                  4 ],
	[ "rotor.manage('fresh')",                                  40 ],
	[ "rotor.manage('app_user', policy => 'default')",          15 ],
	[ "rotor.unmanage('app_user')",                             20 ],
	[ "rotor.restore('gone')",                                  30 ],
	[ "rotor.disable('app_user')",                              20 ],
	[ "rotor.enable('app_user')",                               20 ],
	[ "rotor.grant_access('app_user', 'reader', 'read')",       30 ],
	[ "rotor.revoke_access('app_user', 'reader', 'rotate')",    20 ],
	[ 'rotor.reset_statistics()',                               15 ],
	[ '* FROM rotor.reconcile()',                               40 ],
	[ '* FROM rotor.purge()',                                   30 ],
	[ '* FROM rotor.purge(true)',                               20 ],
	[ 'rotor.make_audit_partitions()',                          10 ],
	[ 'rotor.rewrap_keys()',                                    25 ],
	[ 'rotor.add_master_key()',                                 50 ],
	[ '* FROM rotor.health()',                                  120 ],
	[ '* FROM rotor.transitions()',                             300 ],
	[ "rotor.rotate('app_user', wait => false)",                30 ],
	[ "rotor.rotate('app_user')",                               20 ],
	[ "rotor.rollback('app_user')",                             20 ],
	[ '* FROM rotor.run_due()',                                 10 ],
	[ 'UPDATE rotor.policy SET length = 40',                    50 ],
	[ "INSERT INTO rotor.policy (name) VALUES ('another')",     15 ],
	[ 'DROP EXTENSION rotor CASCADE',                           6 ],
);

for (@statements)
{
	my ($what, $least) = @$_;
	my $statement = $what =~ /^(UPDATE|INSERT|DROP) / ? $what : "SELECT $what";
	my @rows = map { [ split /\t/, $_, 5 ] } split /\n/, sql($node, <<"SQL");
LOAD 'rotor';
SET client_min_messages = error;
\\pset fieldsep '\\t'
SELECT pass, n, point, state, translate(message, E'\\n', ' ') FROM sweep(\$statement\$$statement\$statement\$);
SQL
	my @hit     = grep { $_->[2] ne '' } @rows;
	my @through = grep { $_->[2] eq '' } @rows;
	my @bad;

	for my $row (@hit)
	{
		my (undef, $n, $point, $state, $message) = @$row;
		next if $state eq 'ZZ000' && $point =~ ($passes{$what} // $always_passes);
		push @bad, "call $n, $point: $state $message" unless $state =~ told(class_of($point), $point) && $message ne '';
	}
	cmp_ok(scalar @hit, '>=', $least, "$what: " . scalar(@hit) . ' calls failed');
	is(join("\n", @bad), '', "$what: each is told, as what it is");
	is(join(' ', map { $_->[3] } @through), 'ZZ000 ZZ000', "$what: with nothing in the way it goes through");
}

# health() proves the key; that it cannot is what it tells.
my ($finding) = split /\n/, sql($node, q{LOAD 'rotor'; SET rotor_test.fault = 'OpenTransientFile:fail'; SELECT status FROM rotor.health() WHERE check_name = 'key'});
is($finding, 'error', 'health(): a key file that cannot be opened is an error');
is(sql($node, q{SELECT status FROM rotor.health() WHERE check_name = 'key'}), 'ok', 'and the next time it can');

assert_invariants($node, 'app_user', 'after all this');
is(sql($node, q{SELECT username FROM rotor.secret WHERE name = 'fresh'}), '', 'nothing that was undone has stayed');
rotate_ok($node, 'app_user', 'the next rotation');
tells_no_password($node, map { password_of($node, 'app_user', $_) } qw(current previous));
done_testing();
