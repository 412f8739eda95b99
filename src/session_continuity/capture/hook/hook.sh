# A harness's hook: its standard input becomes one record of the spool.
#
#   hook.sh SPOOL HARNESS EVENT PYTHON quick|flush|answer
#
# Sourced by the command that hook_command() makes, which exits 0 and hides standard error whatever happens here. Nothing
# is printed, except by the slow road (python -m session_continuity.capture.hook.hook): for `answer`, and while any session is
# fenced. A record is drafted under a dot and renamed, so that it is whole or not there; what can't be kept is counted.
#
# The processes it starts are its price: cat and mv alone, and with `flush` two times sync. Hence the random name from
# the kernel by a built-in read (with mktemp the hook costs a third more), and the file size limit as a built-in ulimit.

umask 077
[ -d "$1/lost" ] || mkdir -p "$1/lost"

client=$PPID
if [ "$2" = claude-code ]; then
    case $CLAUDE_PID in
    '' | *[!0-9]*) ;;
    *) client=$CLAUDE_PID ;;
    esac
fi

answer=$5
for marker in "$1"/fenced/*; do
    [ ! -e "$marker" ] || answer=answer
    break
done
if [ "$answer" = answer ]; then
    "$4" -I -m session_continuity.capture.hook.hook "$2" "$3" "$client" "${1%/*}" && exit 0
fi

# A name holds the pid of this hook: of two records that have one time, the later has the higher.
name=$2@$3@$client@$$
if read -r random < /proc/sys/kernel/random/uuid; then
    name=$name-$random
else
    name=$(mktemp -u "$name-XXXXXXXXXXXXXXXX")
fi

set -C                # a name is never used twice
trap '' XFSZ          # past the limit the write fails, nobody is killed
ulimit -f 131072      # 64 MiB
if [ ! -e "$1/full" ] && cat > "$1/.$name"; then
    if [ ! -s "$1/.$name" ]; then
        rm -f "$1/.$name"
        exit 0
    fi
    [ "$5" = quick ] || sync "$1/.$name" || sync
    if mv "$1/.$name" "$1/$name" || [ -e "$1/$name" ]; then
        [ "$5" = quick ] || sync "$1" || sync
        exit 0
    fi
fi
rm -f "$1/.$name"
true > "$1/lost/$name"
cat > /dev/null       # some harnesses take a closed pipe for a failed hook
