#!/bin/sh
# Plants each bug of `list` into a copy of what is committed, and expects its test to fail. Arguments: names of some of them.
# Not part of `cargo test`: each bug is a build. A bug that does not compile, or that its test takes longer than ten minutes over, counts as not found.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD
target=${CARGO_TARGET_DIR:-$here/target}
tree=$target/planted
export CARGO_TARGET_DIR="$target" RUST_BACKTRACE=0
trap 'git -C "$here" worktree remove --force "$tree" 2>/dev/null || :' EXIT
git worktree remove --force "$tree" 2>/dev/null || :
git worktree add -q --detach "$tree" HEAD
cd "$tree"
missed=0
while read -r name arguments; do
    case "$name" in '' | '#'*) continue ;; esac
    [ $# -eq 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac
    git checkout -q .
    git apply "$here/tests/planted/$name.patch"
    fast="--config profile.dev.package.streamkeeper.opt-level=0"
    begun=$(date +%s)
    # shellcheck disable=SC2086
    if ! cargo test -q $fast --no-run $arguments >"$target/planted.log" 2>&1 </dev/null; then
        echo "$name: does not compile"
        tail -20 "$target/planted.log"
        missed=1
        continue
    fi
    built=$(date +%s)
    status=0
    # shellcheck disable=SC2086
    timeout 600 cargo test -q $fast $arguments >"$target/planted.log" 2>&1 </dev/null || status=$?
    took="built in $((built - begun)) s, run in $(($(date +%s) - built)) s"
    if [ $status -ne 0 ] && grep -q 'test result: FAILED' "$target/planted.log"; then
        echo "$name: found by $arguments ($took)"
        grep -A1 'panicked at' "$target/planted.log" | head -2
    else
        echo "$name: NOT found by $arguments ($took, status $status)"
        missed=1
    fi
done <"$here/tests/planted/list"
exit $missed
