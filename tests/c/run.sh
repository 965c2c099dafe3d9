#!/bin/sh
# run.sh: builds libpynet and its C tests with each compiler and sanitizer that is here, and runs them.
#
#   tests/c/run.sh            gcc, what is built by default, clang, ASan+UBSan with all three, TSan with both
#                             compilers; aarch64, arm, s390x under qemu
#   tests/c/run.sh --short    gcc with ASan+UBSan only
#   tests/c/run.sh NAME ...   these of its lines, e.g. "gcc aarch64": NEON's bits beside those of this processor
#
# One line for each: ok, FAILED (then the log), or SKIPPED and why.  Builds in $TMPDIR/pynet-c, kept for the next time.
set -u
cd "$(dirname "$0")/../.."
base=${TMPDIR:-/tmp}/pynet-c
names=$* # none: all
failed=0
mkdir -p "$base"
export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"

asked_for() { case " ${names:-$1} " in *" $1 "*) ;; *) return 1 ;; esac }

# attempt NAME COMPILER SANITIZERS TESTS [cmake arguments]
attempt() {
    name=$1 compiler=$2 sanitizers=$3 tests=$4
    shift 4
    asked_for "$name" || return 0
    dir=$base/$name
    if ! command -v "$compiler" >/dev/null; then
        echo "$name: SKIPPED, there is no $compiler"
        return
    fi
    start=$(date +%s)
    rm -f "$dir.log"
    if {
        cmake -S . -B "$dir" -DPYNET_PYTHON=OFF -DPYNET_DEVELOPER=ON -DCMAKE_C_COMPILER="$compiler" \
            -DPYNET_SANITIZE="$sanitizers" "$@" &&
            cmake --build "$dir" --parallel 2 &&
            ctest --test-dir "$dir" -R "$tests" --no-tests=error --verbose
    } >"$dir.log" 2>&1; then
        programs=$(grep -c ' Passed ' "$dir.log")
        echo "$name: ok, $programs programs, $(checks "$dir.log") checks, $(($(date +%s) - start)) s"
    else
        echo "$name: FAILED"
        grep -E 'FAIL|ERROR|SUMMARY|rror:|warning:|\*\*\*' "$dir.log" | head -n 30
        echo "    all of it: $dir.log"
        failed=1
    fi
}
checks() { sed -n 's/.*: \([0-9]*\) checks, 0 failed$/\1/p' "$1" | awk '{ n += $1 } END { print n }'; }
bits() { sed -n 's/^[0-9]*: \(bits .*\)/\1/p' "$base/$1.log" 2>/dev/null | sort; }

# Instruction sets with fused multiply-add agree, on whatever processor.
same_bits() {
    asked_for "$1" && asked_for "$2" || return 0
    if [ -z "$(bits "$1")" ] || [ -z "$(bits "$2")" ]; then
        return # they have not been made: that was said already
    elif [ "$(bits "$1" | wc -l)" -ge 94 ] && [ "$(bits "$1")" = "$(bits "$2")" ]; then
        echo "bits of $1 and $2: ok, $(bits "$1" | wc -l) results are the same"
    else
        echo "bits of $1 and $2: FAILED"
        bits "$1" >"$base/bits.1"
        bits "$2" | diff "$base/bits.1" - | head -n 30
        failed=1
    fi
}

[ "$names" = --short ] && names=gcc-asan
for name in $names; do
    case " gcc default clang gcc-asan default-asan clang-asan gcc-tsan clang-tsan aarch64 arm s390x " in
    *" $name "*) ;;
    *) echo "run.sh: there is no $name" >&2 && exit 2 ;;
    esac
done
attempt gcc gcc "" .
attempt default gcc "" . -DPYNET_TRAINED=f32 -DPYNET_LARGE=OFF
attempt clang clang "" .
attempt gcc-asan gcc address,undefined .
attempt default-asan gcc address,undefined . -DPYNET_TRAINED=f32 -DPYNET_LARGE=OFF
attempt clang-asan clang address,undefined .
attempt gcc-tsan gcc thread 'machine|training|parts|pool|obs|second|example|model'
attempt clang-tsan clang thread 'machine|training|parts|pool|obs|second|example|model'
same_bits gcc clang
# emulated NAME COMPILER PROCESSOR SYSROOT TESTS: on another processor
emulated() {
    asked_for "$1" || return 0
    if ! command -v "qemu-$1" >/dev/null; then
        echo "$1: SKIPPED, there is no qemu-$1"
        return
    fi
    attempt "$1" "$2" "" "$5" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$3" -DCMAKE_C_FLAGS=-DEMULATED=1 \
        "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-$1;-L;$4"
}
emulated aarch64 aarch64-linux-gnu-gcc aarch64 /usr/aarch64-linux-gnu .
same_bits gcc aarch64
few='example|model|corpus|plan|kernels|gradient|obs|second'
emulated arm arm-linux-gnueabihf-gcc arm /usr/arm-linux-gnueabihf "$few"
emulated s390x s390x-linux-gnu-gcc s390x /usr/s390x-linux-gnu "$few" # its bytes stand in the other order
exit $failed
