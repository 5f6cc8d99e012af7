# The pages and the server say the same: settings, functions with their arguments, views with their columns, policies, checks
# of health(), transitions, tables; and the rules of docs/security.md that a query can check hold.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

my $top  = $ENV{ROTOR_TOP} // '..';
my @docs = map { substr $_, 1 + length $top } sort glob("$top/docs/*.md $top/docs/*/*.md");
my %page = map { ($_ => slurp_file("$top/$_")) } 'README.md', @docs;

# Triggers call them; nobody else does.
my @internal = qw(guard_audit guard_configuration guard_drop guard_restored guard_update);

# What looks like an object of schema rotor, and is a file.
my @files = qw(c conf control key so);

# The rows of the table of a page whose first heading is $heading: a list of cells each, without the backticks' spaces.
sub table
{
	my ($file, $heading) = @_;
	my ($inside, @rows);

	for (split /\n/, $page{$file})
	{
		if (/^\| *\Q$heading\E *\|/) { $inside = 1; next; }
		next if $inside && /^\|[-|: ]+\|$/;
		if ($inside && /^\|(.*)\|\s*$/)
		{
			# A bar within backticks is no border.
			my $row = $1 =~ s/(`[^`]*`)/$1 =~ s{\|}{\0}gr/ger;
			push @rows, [ map { s/\0/|/gr =~ s/^\s+|\s+$//gr } split /\|/, $row, -1 ];
		}
		elsif ($inside) { last; }
	}
	die "$file has no table '$heading'" unless @rows;
	return @rows;
}

# What stands in backticks.
sub code
{
	return $_[0] =~ /`([^`]*)`/g;
}

sub rows_of
{
	my ($node, $sql) = @_;
	return map { [ split /\t/, $_, -1 ] } split /\n/, sql($node, "\\pset fieldsep '\\t'\n$sql");
}

sub column
{
	my ($node, $sql) = @_;
	return map { $_->[0] } rows_of($node, $sql);
}

my $plain     = new_cluster('docs_plain');
my $preloaded = new_cluster('docs_preloaded', preload => 1);

#---------------------------------------------------------------------------------------------------------------------
# Settings

my $settings = <<'SQL';
LOAD 'rotor';
SELECT name, coalesce(boot_val, ''), coalesce(unit, ''),
       coalesce(min_val || ' to ' || max_val, (SELECT string_agg(v, ', ') FROM unnest(enumvals) v), ''), context
FROM pg_settings WHERE name LIKE 'rotor.%' ORDER BY name COLLATE "C"
SQL
my @documented = map { [ code($_->[0]), (code($_->[1]))[0] // '', $_->[2], $_->[3] =~ s/`//gr, $_->[4] ] } table('docs/settings.md', 'setting');
is_deeply(\@documented, [ rows_of($preloaded, $settings) ], 'docs/settings.md: name, default, unit, range and context of every setting');
is_deeply(
	[ map { [ @$_[ 0 .. 3 ], $_->[0] =~ /^rotor\.(workers|max_watched_roles)$/ ? 'sighup' : $_->[4] ] } @documented ],
	[ rows_of($plain, $settings) ],
	'and the same where rotor is not preloaded, but for the context of rotor.workers and rotor.max_watched_roles');

# In the README a default is as SHOW prints it.
my @shown = map { [ $_, sql($plain, "LOAD 'rotor'; SHOW $_") ] } map { $_->[0] } @documented;
is_deeply([ map { [ code($_->[0]), (code($_->[1]))[0] // '' ] } table('README.md', 'setting') ], \@shown, 'README: every setting with its default');

my %has_section = map { ($_ => 1) } map { split /, / } $page{'docs/settings.md'} =~ /^## (rotor\..*)$/mg;
is_deeply([ sort keys %has_section ], [ map { $_->[0] } @documented ], 'docs/settings.md: every setting has its section');

#---------------------------------------------------------------------------------------------------------------------
# Functions: name, arguments in order, defaults

my @catalog = grep { my $f = $_; !grep { $f =~ /^\Q$_\E\(/ } @internal } column($plain, <<'SQL');
SELECT p.proname || '(' || coalesce((
    SELECT string_agg(p.proargnames[i] || coalesce(' = ' || regexp_replace(lower(pg_get_function_arg_default(p.oid, i)), '::[\w ]+(\[\])?$', ''), ''), ', ' ORDER BY i)
    FROM generate_series(1, p.pronargs) i), '') || ')'
FROM pg_proc p WHERE p.pronamespace = 'rotor'::regnamespace ORDER BY 1
SQL
my @readme = map { s/^rotor\.//r } map { code($_->[0]) } table('README.md', 'function');
is(join("\n", sort @readme), join("\n", sort @catalog), 'README: every function with its arguments and defaults');

for my $sentence ($page{'README.md'} =~ /`([a-z_]+)\(/g)
{
	ok(scalar(grep { /^\Q$sentence\E\(/ } @catalog), "README: $sentence() is a function of rotor's") unless $sentence =~ /^(?:rotor|pg_)/;
}

#---------------------------------------------------------------------------------------------------------------------
# Views and tables

my @views = column($plain, q{SELECT 'rotor.' || relname FROM pg_class WHERE relnamespace = 'rotor'::regnamespace AND relkind = 'v' ORDER BY 1});
is_deeply([ sort map { code($_->[0]) } table('README.md', 'view') ], \@views, 'README: every view');
my @columns = rows_of($plain, <<'SQL');
SELECT 'rotor.' || c.relname, string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'rotor'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 GROUP BY 1 ORDER BY 1
SQL
is_deeply([ sort { $a->[0] cmp $b->[0] } map { [ code($_->[0]), join(', ', code($_->[1])) ] } table('docs/monitoring.md', 'view') ],
	\@columns, 'docs/monitoring.md: every view with its columns');

my @tables = column($plain, q{SELECT 'rotor.' || relname FROM pg_class WHERE relnamespace = 'rotor'::regnamespace AND relkind IN ('r', 'p') AND relname !~ '^audit_\d' ORDER BY 1});
is_deeply([ sort map { code($_->[0]) } table('docs/architecture.md', 'table') ], \@tables, 'docs/architecture.md: every table');

#---------------------------------------------------------------------------------------------------------------------
# Every name of schema rotor on any page is one

my %exists = map { ($_ => 1) } @files, map { s/\W.*//sr } column($plain, <<"SQL");
LOAD 'rotor';
SELECT proname FROM pg_proc WHERE pronamespace = 'rotor'::regnamespace
UNION SELECT relname FROM pg_class WHERE relnamespace = 'rotor'::regnamespace
UNION SELECT substring(name FROM 7) FROM pg_settings WHERE name LIKE 'rotor.%'
SQL
for my $file (sort keys %page)
{
	my @unknown = grep { !$exists{$_} } $page{$file} =~ /\brotor\.([a-z_]+)/g;
	is("@unknown", '', "$file: every rotor.name that it speaks of is there");
}

#---------------------------------------------------------------------------------------------------------------------
# Policies: columns and defaults, read from a row that says nothing but its name

{
	my @rows = table('README.md', 'column of `rotor.policy`');
	my $query = q{BEGIN; INSERT INTO rotor.policy (name) VALUES ('docs'); };
	my @named;

	for my $row (@rows)
	{
		my @names    = code($row->[0]);
		my @defaults = code($row->[1]);

		@defaults = ($row->[1] eq 'null' ? undef : '') unless @defaults;
		push @defaults, ($defaults[0]) x (@names - @defaults);
		push @named, @names;
		for my $i (0 .. $#names)
		{
			next if $names[$i] eq 'name';
			my $literal = defined $defaults[$i] ? "'$defaults[$i]'" : 'NULL';
			$query .= "SELECT '$names[$i]' FROM rotor.policy WHERE name = 'docs' AND $names[$i] IS DISTINCT FROM $literal; ";
		}
	}
	is(sql($plain, "$query ROLLBACK"), '', 'README: the default of every setting of a policy');
	is_deeply([ sort @named ], [ column($plain, q{SELECT attname FROM pg_attribute WHERE attrelid = 'rotor.policy'::regclass AND attnum > 0 ORDER BY 1}) ],
		'README: every setting of a policy');
	for my $policy (column($plain, 'SELECT name FROM rotor.policy'))
	{
		ok($page{'README.md'} =~ /`$policy`\s+\(/, "README: the ready-made policy $policy");
	}
}

#---------------------------------------------------------------------------------------------------------------------
# Health, transitions

sql($_, q{CREATE ROLE app_user LOGIN; SELECT rotor.manage('app_user')}) for $plain, $preloaded;
sql($preloaded, q{SELECT rotor.rotate('app_user')});
is_deeply(
	[ map { code($_->[0]) } table('docs/monitoring.md', 'check') ],
	[ column($preloaded, 'SELECT DISTINCT ON (n) check_name FROM (SELECT check_name, row_number() OVER () AS n FROM rotor.health()) h ORDER BY n') ],
	'docs/monitoring.md: every check of health(), in its order');

my @transitions = map { join ' | ', @$_ } rows_of($plain, <<'SQL');
SELECT step, outcome, next_step, status, event, CASE WHEN retry THEN 'yes' ELSE '' END,
       CASE WHEN dead_letter THEN 'yes' ELSE '' END, live FROM rotor.transitions
SQL
is(join("\n", map { join ' | ', @$_ } table('docs/protocol.md', 'step')), join("\n", @transitions), 'docs/protocol.md: every transition');
is_deeply([ sort map { code($_->[0]) } table('docs/protocol.md', 'outcome') ],
	[ column($plain, q{SELECT DISTINCT outcome FROM rotor.transitions WHERE outcome <> 'ok' UNION SELECT 'ok' ORDER BY 1}) ],
	'docs/protocol.md: every outcome is explained');

#---------------------------------------------------------------------------------------------------------------------
# The rooms of docs/architecture.md are the sources of the Makefile

{
	my @rooms = map { code($_->[0]) } table('docs/architecture.md', 'room');
	my $makefile = slurp_file("$top/Makefile");

	for my $source (sort $makefile =~ m{\bsrc/(\w+)\.o\b}g)
	{
		ok(scalar(grep { my $room = s/\.[ch]$//r =~ s/\*/\\w*/gr; $source =~ /^$room$/ } @rooms), "docs/architecture.md: the room of src/$source.c");
	}
	for my $room (grep { !/\.h$/ } @rooms)
	{
		my $pattern = $room =~ s/\.c$//r =~ s/\*/\\w*/gr;
		ok($makefile =~ m{\bsrc/$pattern\.o\b}, "docs/architecture.md: room $room has a source");
	}
	for my $source (sort $makefile =~ m{\bcommon/(\w+)\.o\b}g)
	{
		ok($page{'docs/architecture.md'} =~ /`$source`/, "docs/architecture.md: the room of common/$source.c");
	}
}

#---------------------------------------------------------------------------------------------------------------------
# Links between the pages

for my $file (sort keys %page)
{
	for my $link ($page{$file} =~ /\]\(([^)]+)\)/g)
	{
		my ($path, $anchor) = split /#/, $link;

		$path = $path eq '' ? $file : ($file =~ s{[^/]*$}{}r) . $path;
		1 while $path =~ s{(?:^|(?<=/))[^/]+/\.\./}{};
		# The tests' copy of the checkout has no other page.
		next if $path =~ /^(?:LICENSE|CHANGELOG\.md)$/;
		ok(exists $page{$path} || -f "$top/$path", "$file: the link to $link leads to a page") or next;
		next unless defined $anchor;
		my %anchors = map { (lc($_) =~ s/[^a-z0-9 -]//gr =~ s/ /-/gr => 1) } $page{$path} =~ /^#+ (.*)$/mg;
		ok($anchors{$anchor}, "$file: and $link to a heading");
	}
}

#---------------------------------------------------------------------------------------------------------------------
# Rules of docs/security.md

is(sql($plain, <<'SQL'), '', 'nothing in schema rotor is granted to PUBLIC');
SELECT o.name FROM (
    SELECT nspname AS name, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM pg_namespace WHERE nspname = 'rotor'
    UNION ALL SELECT relname, coalesce(relacl, acldefault('r', relowner)) FROM pg_class
        WHERE relnamespace = 'rotor'::regnamespace AND relkind IN ('r', 'v', 'S')
    UNION ALL SELECT proname, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = 'rotor'::regnamespace) o,
    aclexplode(o.acl) a WHERE a.grantee = 0
SQL
is(sql($plain, q{SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'rotor'::regnamespace AND prosecdef}),
	'statistics|{"search_path=pg_catalog, pg_temp"}', 'statistics() is the one SECURITY DEFINER function, with its search_path');
is(sql($plain, <<'SQL'), '', 'no guard is switched off by session_replication_role');
SELECT tgrelid::regclass, tgname FROM pg_trigger
WHERE tgname LIKE 'guard%' AND NOT tgisinternal AND tgenabled <> 'A'
SQL
is(sql($plain, <<'SQL'), '', 'and there is one on policy, store, target, and on the audit with all its partitions');
SELECT relid FROM (SELECT 'rotor.policy'::regclass AS relid UNION ALL SELECT 'rotor.store' UNION ALL SELECT 'rotor.target'
    UNION ALL SELECT relid FROM pg_partition_tree('rotor.audit')) t
WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.relid AND g.tgname LIKE 'guard%' AND g.tgenabled = 'A')
SQL

$_->stop for $plain, $preloaded;
done_testing();
