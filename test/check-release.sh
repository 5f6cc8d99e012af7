#!/usr/bin/env bash
# Proves that scripts/check-release.sh refuses what it is there to refuse: in a git repository of its own, with a release,
# each mistake in turn makes it fail and name the remedy, and what is right makes it pass.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Whatever the caller's git is told about another repository must steer nothing here.
for variable in "${!GIT_@}"; do
    unset "$variable"
done
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

workspace=$(mktemp -d "${TMPDIR:-/tmp}/rotor-release.XXXXXX")
trap 'rm -rf "$workspace"' EXIT
export GIT_CEILING_DIRECTORIES=$workspace
tree=$workspace/rotor
failed=0

commit() {
    git -C "$tree" add -A
    git -C "$tree" -c user.name=test -c user.email=test@localhost -c commit.gpgsign=false commit -q -m "$1"
}

# holds NAME pass|fail PATTERN: the check, run in the tree as it is now
holds() {
    local name=$1 wanted=$2 pattern=$3 got=pass

    "$tree/scripts/check-release.sh" >"$workspace/out" 2>&1 || got=fail
    if [[ $got != "$wanted" ]] || ! grep -qE -- "$pattern" "$workspace/out"; then
        echo "not ok - $name: wanted $wanted with /$pattern/, got $got with:"
        sed 's/^/    /' "$workspace/out"
        failed=1
    else
        echo "ok - $name"
    fi
}

# What the release left: another try begins from there.
again() {
    git -C "$tree" reset -q --hard v1.0.2
    git -C "$tree" clean -q -fd
}

# The version 1.1 as it should be: SQL of its own, and the way there.
version_1_1() {
    sed -i "s/^default_version = .*/default_version = '1.1'/" "$tree/rotor.control"
    sed -i -e 's/"version": "1\.0\.2"/"version": "1.1.0"/' -e 's/rotor--1\.0\.sql/rotor--1.1.sql/' "$tree/META.json"
    sed -i '1s/(1\.0\.2)/(1.1.0)/' "$tree/debian/changelog"
    sed -i 's/^## 1\.0\.2$/## 1.1.0/' "$tree/CHANGELOG.md"
    echo 'SELECT 1.1;' >"$tree/rotor--1.1.sql"
    echo 'SELECT 1.1;' >"$tree/rotor--1.0--1.1.sql"
}

mkdir -p "$tree/scripts" "$tree/debian"
cp scripts/check-release.sh "$tree/scripts/"
cp META.json "$tree/"
sed -i -E -e 's/"version": "[0-9]+\.[0-9]+\.[0-9]+"/"version": "1.0.2"/' -e 's/rotor--[0-9.]+\.sql/rotor--1.0.sql/' \
    -e '/"meta-spec"/,/}/s/1\.0\.2/1.0.0/' "$tree/META.json"
echo "default_version = '1.0'" >"$tree/rotor.control"
echo 'SELECT 1.0;' >"$tree/rotor--1.0.sql"
printf '# Changes\n\n## 1.0.2\n' >"$tree/CHANGELOG.md"
echo '# rotor' >"$tree/README.md"
echo 'rotor (1.0.2) unstable; urgency=medium' >"$tree/debian/changelog"

holds "outside of git there is nothing to compare with" pass 'no git checkout'
git -C "$tree" init -q -b main
commit 'before a release'
holds "nor before the first release" pass 'No version was tagged yet'
git -C "$tree" tag v1.0.2
git -C "$tree" tag v1.0.10-rc1
holds "right after a release all is well" pass 'Compared with v1\.0\.2\.'

echo 'SELECT 2;' >>"$tree/rotor--1.0.sql"
holds "released SQL that was changed" fail 'git checkout v1\.0\.2 -- rotor--1\.0\.sql'
commit 'changed'
holds "and the same once it is committed" fail 'needs a default_version of its own'
again
rm "$tree/rotor--1.0.sql"
holds "released SQL that was removed" fail 'rotor--1\.0\.sql was released with v1\.0\.2'

again
version_1_1
commit 'version 1.1'
holds "a new version with its update script" pass 'Compared with v1\.0\.2\.'
git -C "$tree" tag v1.1.0
holds "and after its release" pass 'Compared with v1\.1\.0\.'
echo 'SELECT 2;' >>"$tree/rotor--1.0--1.1.sql"
holds "a released update script that was changed" fail 'rotor--1\.0--1\.1\.sql was released with v1\.1\.0'
git -C "$tree" tag -d v1.1.0 >"$workspace/out"
again
version_1_1
rm "$tree/rotor--1.0--1.1.sql"
holds "a new version without an update script" fail 'no update script rotor--1\.0--1\.1\.sql'
again
version_1_1
sed -i "s/^default_version = .*/default_version = '0.9'/" "$tree/rotor.control"
holds "a version below the released one" fail 'default_version 0\.9 is below 1\.0'

again
git -C "$tree" tag v2.0.0
holds "a tag that is not the version's" fail "v2\\.0\\.0: its default_version is 1\\.0"
git -C "$tree" tag -d v2.0.0 >"$workspace/out"

sed -i 's/"version": "1\.0\.2"/"version": "1.1.0"/' "$tree/META.json"
holds "META.json of another version" fail 'META\.json: version 1\.1\.0 does not belong to default_version 1\.0'
again
sed -i '0,/"version": "1\.0\.2"/s//"version": "1.0"/' "$tree/META.json"
holds "META.json without a semantic version" fail '"1\.0" is no semantic version'
again
sed -i 's/^{/{,/' "$tree/META.json"
holds "META.json that is not JSON" fail 'META\.json: is not JSON'
again
sed -i '/"license"/d' "$tree/META.json"
holds "META.json without a mandatory field" fail 'META\.json: license is missing'
again
rm "$tree/README.md"
holds "META.json that names a file that is not there" fail 'docfile names no file'
again
sed -i '1s/1\.0\.2/1.0.3/' "$tree/debian/changelog"
holds "a package of another version" fail "debian/changelog: its first entry is for 1\\.0\\.3"
again
sed -i 's/^## 1\.0\.2$/## 0.9/' "$tree/CHANGELOG.md"
holds "CHANGELOG.md without the version" fail 'CHANGELOG\.md: no heading for version 1\.0\.2'

exit "$failed"
