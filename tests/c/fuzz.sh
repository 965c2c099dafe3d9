#!/bin/sh
# fuzz.sh: files that nobody wrote are opened by libpynet, under ASan and UBSan, with clang's libFuzzer.
#
#   tests/c/fuzz.sh [SECONDS]      1800 unless told; short inputs that reach new code are added to tests/c/corpus
#
# What crashes, leaks, or takes more than 64 MB at once is left in the folder from which this is called.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:-1800}
dir=${TMPDIR:-/tmp}/pynet-fuzz
cmake -S "$root" -B "$dir" -DPYNET_PYTHON=OFF -DPYNET_PREDICT_ONLY=ON -DPYNET_ISAS=scalar -DPYNET_FUZZ=ON \
    -DCMAKE_C_COMPILER=clang -DPYNET_SANITIZE=address,undefined,fuzzer-no-link >"$dir.log"
cmake --build "$dir" --target fuzz_model --parallel 2 >>"$dir.log"
found=$dir/found
mkdir -p "$found"
"$dir/fuzz_model" -max_total_time="$seconds" -max_len=16384 -malloc_limit_mb=64 -timeout=10 -rss_limit_mb=1024 \
    -dict="$root/tests/c/fuzz.dict" -print_final_stats=1 "$found" "$root/tests/c/corpus"
# Those that reach code which nothing in the corpus reaches, if they are short.
"$dir/fuzz_model" -set_cover_merge=1 -use_counters=0 -max_len=2200 "$root/tests/c/corpus" "$found"
