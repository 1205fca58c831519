#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-only
# Installs relvmoiscsi on this XenServer or XCP-ng host, or in its pool.

usage() {
    cat <<'END'
usage: install.sh [--check | --uninstall | --selftest | --pool [--iso FILE] [--sr UUID]] [--restart-toolstack] [--no-selftest]

  (nothing)            install on this host, or upgrade, or repair; safe to repeat
  --check              say whether this host can take it; changes nothing
  --uninstall          remove it from this host
  --selftest           resign a small SR in a file with this host's own tools, and print what they say; touches nothing else
  --no-selftest        do not do that at the end of an installation
  --pool               install on every host of the pool (from XenServer 7.1 on as an update, before that: print the
                       commands for each host), then ask every host whether it is ready
  --iso FILE           with --pool: the update image, if it does not lie beside install.sh
  --sr UUID            with --pool: the storage repository to upload the image to, if not the pool's default
  --restart-toolstack  restart the toolstack afterwards (of the pool, with --pool); nothing is restarted without it

exit status: 0 done  1 failed  2 this host cannot take it, nothing was changed  3 wrong usage
             4 not every host of the pool is ready  5 the selftest failed (what was installed stays)
END
}

name=relvmoiscsi
# originator:name of the supplemental pack, under which XenServer 6.5 and 7.0 remember it.
record=/etc/xensource/installed-repos/relvm:relvmoiscsi
# The releases an RPM may be made for, newest first: the RPM's own dependencies say whether it fits.
targets='xs9 xs8 el7 el5'

LC_ALL=C
export LC_ALL
here=$(cd "$(dirname "$0")" && pwd) || exit 1

fail() {
    status=$1
    shift
    echo "install.sh: $*" >&2
    exit "$status"
}

image_of() {
    case $1 in
        el7) echo xenserver-7.1-8.2 ;;
        xs8) echo xenserver-8 ;;
        xs9) echo sm-4 ;;
    esac
}

# Sets rpm and target to the package that this host can take, or reasons to why it can take none.
choose() {
    rpm=
    target=
    reasons=
    for target in $targets; do
        for rpm in "$here"/$name-*."$target".noarch.rpm "$here"/Packages/$name-*."$target".noarch.rpm \
                "$here"/rpm/$name-*."$target".noarch.rpm "$here"/build/pack/rpm/$name-*."$target".noarch.rpm; do
            [ -f "$rpm" ] || continue
            answer=$(rpm -U --test --replacepkgs --oldpackage "$rpm" 2>&1) && return 0
            reasons="$reasons
  ${rpm##*/}:
$(echo "$answer" | sed 's/^/    /')"
        done
    done
    rpm=
    [ -n "$reasons" ] || reasons="
  there is no $name RPM beside install.sh"
    return 1
}

require_host() {
    [ "$(id -u)" = 0 ] || fail 2 'must be run as root'
    [ -r /etc/xensource-inventory ] || fail 2 'this is no XenServer or XCP-ng host: there is no /etc/xensource-inventory'
    [ -d /opt/xensource/sm ] || fail 2 'this host has no storage manager in /opt/xensource/sm'
}

require_fit() {
    choose || fail 2 "this host cannot take it:$reasons"
}

installed() {
    rpm -q --qf '%{NAME}-%{VERSION}-%{RELEASE}\n' "$1" 2>/dev/null
}

# Through the plugin, so with the Python that xapi starts; only where xapi answers, so neither in a chroot nor in the host's installer.
# Sets answer.
ask_selftest() {
    INSTALLATION_UUID=
    . /etc/xensource-inventory
    answer=$(xe host-call-plugin host-uuid="$INSTALLATION_UUID" plugin=$name fn=selftest 2>&1)
    case $answer in
        *'"ok": true,'*'"points"'*) return 0 ;;
    esac
    return 1
}

selftest() {
    ask_selftest && status=0 || status=5
    echo "$answer"
    exit "$status"
}

test_installed() {
    untested=
    [ -z "$no_selftest" ] || return 0
    if ! xe host-list --minimal >/dev/null 2>&1; then
        echo 'xapi does not answer, so there is no selftest now. Later: install.sh --selftest'
    elif ask_selftest; then
        echo 'Selftest: passed'
    else
        untested=yes
        echo "$answer" >&2
    fi
}

# What a selftest left that was killed.
sweep() {
    for left in /var/tmp/$name-selftest.*; do
        [ -d "$left" ] || continue
        [ ! -e "$left/lock" ] || flock -n "$left/lock" true || continue
        for loop in $(losetup -a | grep "($left/" | cut -d: -f1); do
            losetup -d "$loop"
        done
        rm -rf "$left"
    done
}

refresh_pack_info() {
    INSTALLATION_UUID=
    . /etc/xensource-inventory
    xe host-refresh-pack-info host-uuid="$INSTALLATION_UUID" >/dev/null 2>&1 ||
        echo 'xapi does not answer; it will notice the pack when it starts.'
}

# A supplemental pack is remembered by its two description files.
remember() {
    [ -f "$here/XS-REPOSITORY" ] && [ -d "${record%/*}" ] || return 0
    if ! mkdir -p "$record" || ! cp "$here/XS-REPOSITORY" "$here/XS-PACKAGES" "$record/"; then
        fail 1 "cannot write $record"
    fi
    refresh_pack_info
}

forget() {
    [ -d "$record" ] || return 0
    rm -rf "$record"
    refresh_pack_info
}

restart_or_tell() {
    if [ -n "$restart" ]; then
        xe-toolstack-restart || fail 1 'xe-toolstack-restart failed'
    else
        echo "xapi reads its list of drivers when it starts. When it suits you, on this host: xe-toolstack-restart"
    fi
}

check() {
    require_fit
    echo "${rpm##*/} fits this host."
    if present=$(installed $name); then
        echo "Installed: $present"
    else
        echo 'Installed: nothing'
    fi
}

install() {
    require_fit
    echo "Installing ${rpm##*/}"
    # --replacepkgs, since installing again also repairs: files, and the list of allowed storage plugins.
    rpm -U --replacepkgs "$rpm" || fail 1 'rpm failed'
    remember
    echo "Installed: $(installed $name)"
    test_installed
    restart_or_tell
    [ -z "$untested" ] || fail 5 'it is installed, but its selftest failed: report the answer above before you resign anything'
}

uninstall() {
    sweep
    present=$(rpm -qa --qf '%{NAME} ' $name "update-$name-*" "control-$name-*")
    if [ -z "$present" ]; then
        forget
        echo "$name is not installed."
        return 0
    fi
    # shellcheck disable=SC2086 # a list of package names
    rpm -e $present || fail 1 'rpm failed'
    forget
    echo "Removed: $present"
    restart_or_tell
}

hosts() {
    xe host-list --minimal | tr ',' ' '
}

host_name() {
    xe host-param-get uuid="$1" param-name=name-label
}

host_address() {
    xe host-param-get uuid="$1" param-name=address
}

print_commands() {
    files="'$here/install.sh' '$rpm'"
    for file in "$here/XS-REPOSITORY" "$here/XS-PACKAGES"; do
        [ -f "$file" ] && files="$files '$file'"
    done
    echo 'Run these commands:'
    for host in $(hosts); do
        address=$(host_address "$host")
        echo "# $(host_name "$host")"
        echo "ssh root@$address mkdir -p /root/$name"
        echo "scp $files root@$address:/root/$name/"
        echo "ssh root@$address sh /root/$name/install.sh${restart:+ --restart-toolstack}"
    done
}

# Every host's own answer, through the plugin. Sets unready to the number of hosts that are not ready.
ask_hosts() {
    unready=0
    for host in $(hosts); do
        answer=$(xe host-call-plugin host-uuid="$host" plugin=$name fn=check 2>&1)
        case $answer in
            *'"ok": true'*) echo "ready: $(host_name "$host")" ;;
            *)
                unready=$((unready + 1))
                echo "not ready: $(host_name "$host")"
                echo "$answer" | sed 's/^/    /'
                ;;
        esac
    done
}

apply_update() {
    if [ -z "$iso" ]; then
        for iso in "$here"/$name-*-"$(image_of "$target")".iso "$here"/build/pack/$name-*-"$(image_of "$target")".iso; do
            [ -f "$iso" ] && break
        done
    fi
    [ -f "$iso" ] || fail 2 "there is no update image for this release beside install.sh; name it with --iso"
    # The image's application id is the update's uuid, in the capital letters of ISO 9660.
    update=$(dd if="$iso" bs=1 skip=33342 count=36 2>/dev/null | tr 'A-F' 'a-f')
    echo "Uploading ${iso##*/} (update $update)"
    if ! answer=$(xe update-upload file-name="$iso" ${sr:+sr-uuid="$sr"} 2>&1) &&
            [ "$(xe update-list uuid="$update" --minimal 2>/dev/null)" != "$update" ]; then
        echo "$answer" >&2
        echo 'The pool does not take the image. Without it, each host can be served by itself.' >&2
        print_commands
        exit 1
    fi
    if ! answer=$(xe update-pool-apply uuid="$update" 2>&1); then
        case $answer in
            *[Aa]lready*applied*|*ALREADY_APPLIED*) echo 'The update is already applied on every host.' ;;
            *) fail 1 "update-pool-apply failed:
$answer" ;;
        esac
    fi
    xe update-pool-clean uuid="$update" >/dev/null 2>&1
    if [ -z "$restart" ]; then
        echo 'xapi reads its list of drivers when it starts. When it suits you, on every host, the master first:'
        echo '  xe-toolstack-restart'
        return
    fi
    INSTALLATION_UUID=
    . /etc/xensource-inventory
    xe-toolstack-restart || fail 1 'xe-toolstack-restart failed'
    wait_for_xapi
    for host in $(hosts); do
        [ "$host" = "$INSTALLATION_UUID" ] || xe host-restart-agent uuid="$host" || echo "cannot restart $(host_name "$host")" >&2
    done
    # host-restart-agent waits ten seconds before it does anything.
    tries=36
    while [ $tries -gt 0 ]; do
        ask_hosts >/dev/null
        [ $unready = 0 ] && break
        sleep 5
        tries=$((tries - 1))
    done
}

wait_for_xapi() {
    tries=60
    while ! xe host-list --minimal >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail 1 'xapi does not answer after the restart'
        sleep 2
    done
}

pool() {
    require_fit
    xe host-list --minimal >/dev/null || fail 1 'xapi does not answer'
    case " $(xe help --all 2>/dev/null | tr ',\n' '  ') " in
        *' update-pool-apply '*) [ -n "$(image_of "$target")" ] && by_update=yes || by_update= ;;
        *) by_update= ;;
    esac
    if [ -n "$by_update" ]; then
        apply_update
    else
        echo 'This release has no command that installs on a whole pool.'
        print_commands
    fi
    ask_hosts
    [ "$unready" = 0 ] || fail 4 "$unready host(s) not ready. After a restart of their toolstacks: install.sh --pool again, or
xe host-call-plugin host-uuid=... plugin=$name fn=check"
}

action=install
iso=
sr=
restart=
no_selftest=
while [ $# -gt 0 ]; do
    case $1 in
        --check|--uninstall|--selftest|--pool)
            [ "$action" = install ] || { usage >&2; exit 3; }
            action=${1#--}
            ;;
        --iso|--sr)
            [ $# -gt 1 ] || { usage >&2; exit 3; }
            [ "$1" = --iso ] && iso=$2 || sr=$2
            shift
            ;;
        --restart-toolstack) restart=yes ;;
        --no-selftest) no_selftest=yes ;;
        # From xe-install-supplemental-pack: ask nothing. Nothing is ever asked.
        -b|--batch) ;;
        -h|--help) usage; exit 0 ;;
        *) usage >&2; exit 3 ;;
    esac
    shift
done
[ "$action" = pool ] || [ -z "$iso$sr" ] || { usage >&2; exit 3; }
require_host
$action
