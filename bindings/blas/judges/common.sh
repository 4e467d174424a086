# Sourced by the judges. `library` is the shared library to judge, an absolute path.
set -euo pipefail
multiarch=$(gcc -print-multiarch)
# netlib's, whatever the alternatives are.
netlib=/usr/lib/$multiarch/blas
export LD_LIBRARY_PATH=$netlib:/usr/lib/$multiarch/lapack
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*"
    exit 1
}

# Runs a program on the library. Its output goes to $work/out, and to $work/err the library's
# report. A sanitizer's runtime comes first.
on_library() { # COMMAND...
    local status=0
    (cd "$work" && GAITPROP_VERBOSE=1 LD_PRELOAD=${SANITIZER_RUNTIME:+$SANITIZER_RUNTIME:}$library "$@" >out 2>err) || status=$?
    [ "$status" = 0 ] || { tail -n 20 "$work/out" "$work/err"; fail "$* ends with $status"; }
}

# The library's own count of calls: a preload that was not bound has none.
calls() {
    awk '/^gaitprop_blas: .* calls$/ { n += $(NF - 1) } END { print n + 0 }' "$work/err"
}

# Counts lines of $work/FILE. None may say that something failed.
passed() { # FILE PATTERN EXPECTED
    local found
    if grep -nE 'FAIL|\*\*\*\*\*|ABANDONED|SUSPECT|illegal' "$work/$1"; then fail "$1 has failures"; fi
    found=$(grep -cE -e "$2" "$work/$1" || true)
    [ "$found" = "$3" ] || { cat "$work/$1"; fail "$found lines say /$2/, not $3"; }
}
