# shellcheck shell=bash
#
# Folders with another Debian, for scripts to source.
#
#   debian_mirror                            prints where this machine's apt has the distribution itself from
#   debian_bootstrap SUITE FOLDER MIRROR...  makes one, by debootstrap, with its further options

# What to say if debian_mirror prints nothing.
# shellcheck disable=SC2034 # who sources this says it
readonly debian_no_mirror="apt's sources name no mirror of this Debian's main component; ROTOR_MAJORS_MIRROR can"

# Prints the URI that this machine's apt has the distribution itself from, whatever the form of its sources.
debian_mirror() {
    local codename
    if [[ -n ${ROTOR_MAJORS_MIRROR:-} ]]; then
        echo "$ROTOR_MAJORS_MIRROR"
        return
    fi
    # shellcheck source=/dev/null
    codename=$(source /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # apt-get expands them
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v codename="$codename" '$3 == "main" && $1 ~ /^(https?|file):/ &&
            ($2 == codename || $2 ~ /^(oldstable|stable|testing|sid|unstable)$/) { print $1; exit }'
}

debian_bootstrap() {
    local suite=$1 root=$2 from=$3 script=/usr/share/debootstrap/scripts/$1 proxy
    shift 3
    [[ -e $script ]] || script=/usr/share/debootstrap/scripts/sid # all of Debian's are this one
    proxy=$(eval "$(apt-config shell proxy Acquire::http::Proxy)" && echo "${proxy:-${http_proxy:-}}")

    http_proxy=$proxy unshare --mount --propagation private \
        debootstrap --variant=minbase "$@" "$suite" "$root" "$from" "$script"
}
