#!/usr/bin/env bash
# Proves that the version is the same wherever it stands, and that the SQL of a released version stays what was released:
# who has it installed gets what is new by an update script only.
#
# The released version is the latest tag vX.Y.Z that this commit contains; X.Y is the version of its SQL. Without such a
# tag, or outside of a git checkout, there is nothing released to compare with.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0

complain() {
    echo "$*" >&2
    failed=1
}

default_version=$(sed -n "s/^default_version = '\(.*\)'.*/\1/p" rotor.control)
sql=rotor--$default_version.sql

# ---- one version everywhere

# Prints the errors of META.json, by the rules of PGXN's specification 1.0.0 that matter here, and by our own.
meta_errors() {
    perl -MJSON::PP -e '
        my ($version) = @ARGV;
        local $/;
        open my $file, "<", "META.json" or die "META.json: $!\n";
        my $meta = eval { JSON::PP->new->utf8->decode(<$file>) } or do { print "is not JSON: $@"; exit };
        my $semver = qr/^(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z][0-9A-Za-z.-]*)?$/;
        ref $meta eq "HASH" or do { print "is not an object\n"; exit };
        for my $key (qw(name abstract version maintainer license)) {
            print "$key is missing\n" unless defined $meta->{$key} && length $meta->{$key} && !ref $meta->{$key};
        }
        print "the license is not postgresql\n" if ($meta->{license} // "") ne "postgresql";
        print "meta-spec.version is not 1.0.0\n" if (eval { $meta->{"meta-spec"}{version} } // "") ne "1.0.0";
        my $status = $meta->{release_status} // "stable";
        print "release_status \"$status\" is none\n" unless $status =~ /^(?:stable|testing|unstable)$/;
        my $rotor = eval { $meta->{provides}{rotor} } or do { print "provides.rotor is missing\n"; exit };
        for (["version", $meta->{version}], ["provides.rotor.version", $rotor->{version}]) {
            my ($name, $value) = ($_->[0], $_->[1] // "");
            print "$name \"$value\" is no semantic version\n" if $value !~ $semver;
            print "$name $value does not belong to default_version $version of rotor.control\n"
              if $value !~ /^\Q$version\E\.\d+(?:-.*)?$/;
        }
        print "version and provides.rotor.version differ\n" if ($meta->{version} // "") ne ($rotor->{version} // "");
        print "provides.rotor.file is not rotor--$version.sql\n" if ($rotor->{file} // "") ne "rotor--$version.sql";
        for my $key (qw(file docfile)) {
            print "provides.rotor.$key names no file\n" unless defined $rotor->{$key} && -f $rotor->{$key};
        }' "$default_version"
}

meta_version() {
    perl -MJSON::PP -e 'local $/; print eval { JSON::PP->new->decode(<STDIN>)->{version} } // ""' <META.json
}

check_versions() {
    local error version changelog

    [[ -f $sql ]] || complain "rotor.control: default_version is $default_version, but there is no $sql"
    if [[ ! -f META.json ]]; then
        complain "META.json is missing"
        return
    fi
    while IFS= read -r error; do
        complain "META.json: $error"
    done < <(meta_errors)

    version=$(meta_version)
    grep -qE "^## ${version//./\\.}( |,|$)|^## ${default_version//./\\.}, not released yet$" CHANGELOG.md ||
        complain "CHANGELOG.md: no heading for version $version"
    if [[ -f debian/changelog ]]; then
        changelog=$(sed -n '1s/^rotor (\([^)]*\)).*/\1/p' debian/changelog)
        [[ ${changelog%%[-+~]*} == "${version%%-*}" ]] ||
            complain "debian/changelog: its first entry is for ${changelog:-nothing}, META.json's version is $version"
    fi
}

# ---- what was released stays

# git refuses a checkout of another user; nothing of it is run here.
in_git() {
    git -c safe.directory="$PWD" "$@"
}

# The latest tag vX.Y.Z that this commit contains; nothing if there is none.
latest_release() {
    in_git tag --list 'v*' --merged HEAD --sort=-version:refname | grep -E '^v[0-9]+\.[0-9]+\.[0-9]+$' | head -n 1
}

check_released() {
    local tag=$1 version file
    version=$(in_git show "$tag:rotor.control" | sed -n "s/^default_version = '\(.*\)'.*/\1/p")

    [[ $tag == "v$version."* ]] || complain "$tag: its default_version is $version, which is not the tag's"
    while IFS= read -r file; do
        if [[ ! -f $file ]] || ! in_git show "$tag:$file" | cmp -s - "$file"; then
            complain "$file was released with $tag, and is not the same any more." \
                "Give it back: git checkout $tag -- $file"
            [[ $default_version != "$version" ]] ||
                complain "New SQL needs a default_version of its own in rotor.control, above $version," \
                    "and an update script rotor--$version--NEW.sql (docs/contributing.md, Releases)."
        fi
    done < <(in_git ls-tree --name-only "$tag" | grep -E '^rotor--.*\.sql$')

    [[ $default_version != "$version" ]] || return 0
    if [[ ! -f rotor--$version--$default_version.sql ]]; then
        complain "There is no update script rotor--$version--$default_version.sql: who has $version installed" \
            "could not get the SQL of $default_version, and the library refuses any other."
    fi
    if [[ $(printf '%s\n' "$version" "$default_version" | sort -V | tail -n 1) == "$version" ]]; then
        complain "rotor.control: default_version $default_version is below $version, which $tag has released"
    fi
}

check_versions
if ! in_git rev-parse --git-dir >/dev/null 2>&1; then
    echo "This is no git checkout: nothing released to compare with."
elif tag=$(latest_release) && [[ -n $tag ]]; then
    echo "Compared with $tag."
    check_released "$tag"
else
    echo "No version was tagged yet: nothing released to compare with."
fi

exit "$failed"
