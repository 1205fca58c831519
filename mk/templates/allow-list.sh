# Keep relvmoiscsi and relvmohba on xapi's list of storage plugins. Each sm-plugins line replaces the ones before it, /etc/xapi.conf
# being read first and then every file in /etc/xapi.conf.d in byte order, so the drop-in repeats the list that holds
# without it. In a subshell: IFS, globbing and the locale are changed.
(
    LC_ALL=C
    export LC_ALL
    set -f
    directory=/etc/xapi.conf.d
    own=zz-relvmoiscsi.conf
    blank=$(printf ' \t')
    newline='
'
    list=
    last=
    IFS=$newline
    for name in /etc/xapi.conf $(ls -A $directory 2>/dev/null | sort); do
        case $name in
            "$own") continue ;;
            /*) file=$name ;;
            *) file=$directory/$name ;;
        esac
        [ -f "$file" ] || continue
        while IFS= read -r line || [ -n "$line" ]; do
            line=${line%%#*}
            case $line in *=*) ;; *) continue ;; esac
            key=${line%%=*}
            value=${line#*=}
            while :; do case $key in *[$blank]) key=${key%?} ;; *) break ;; esac; done
            [ "${key##*[$blank]}" = sm-plugins ] || continue
            while :; do case $value in [$blank]*) value=${value#?} ;; *) break ;; esac; done
            while :; do case $value in *[$blank]) value=${value%?} ;; *) break ;; esac; done
            case $value in
                \"*\") value=${value#?}; value=${value%?} ;;
                \'*\') value=${value#?}; value=${value%?} ;;
            esac
            list=$value
            last=$name
        done < "$file"
    done
    text=
    # No list at all: XenServer 6.5, whose xapi allows every plugin.
    if [ -n "$last" ]; then
        text="sm-plugins="
        IFS=$(printf ' \t\n\r\v\f')
        for word in $list; do
            case $word in
                '*') text=; break ;;
                [Rr][Ee][Ll][Vv][Mm][Oo][Ii][Ss][Cc][Ss][Ii]|[Rr][Ee][Ll][Vv][Mm][Oo][Hh][Bb][Aa]) ;;
                *) text="$text$word " ;;
            esac
        done
    fi
    if [ -z "$text" ]; then
        rm -f $directory/$own
        exit 0
    fi
    text="# Written by the relvmoiscsi package, and again when the list changes: the whole list, since the last one counts.
${text}relvmoiscsi relvmohba"
    if [ "$(cat $directory/$own 2>/dev/null)" != "$text" ]; then
        # Beside the directory, not in it: xapi reads every file in there, a half-written one too.
        temporary=/etc/.$own.$$
        mkdir -p $directory &&
            printf '%s\n' "$text" > $temporary &&
            chmod 644 $temporary &&
            mv -f $temporary $directory/$own ||
            rm -f $temporary
    fi
    case $last in /*) exit 0 ;; esac
    if [ "$(printf '%s\n' "$own" "$last" | sort | tail -n 1)" != $own ]; then
        echo "relvmoiscsi: $directory/$last is read after $own and has the last word on sm-plugins:" \
            "add relvmoiscsi and relvmohba to its list" >&2
    fi
) || :
