#!/bin/sh
# Trains the square networks of the GAIT-prop paper on MNIST, every setting spelled out: five layers of
# 784, leaky ReLU of slope 0.1 throughout, batches of 60 in the order of the file, pixels / 255, biases
# 0, Haar-orthogonal weights, Adam without bias correction. Learning rate and λ are the published ones
# of each rule.
#
#   examples/paper_mnist.sh FOLDER OUT [flags of compare: --epochs 1 --limit-train 6000 --seeds 1 …]
#
# FOLDER holds the IDX files of MNIST (or Fashion-MNIST). The results are OUT/table.txt and
# OUT/report.html. All of it takes some hours; --resume continues an interrupted comparison.
set -eu
[ $# -ge 2 ] || { echo "usage: $0 FOLDER OUT [flags of gaitprop compare]" >&2; exit 2; }
data=$1 out=$2
shift 2
# Adds a flag and its value, unless the caller gave that flag.
add() { case " $given " in *" $1 "* | *" $1="*) ;; *) set_flags="$set_flags $*" ;; esac; }
given=$* set_flags=
add --rules bp,gait,tp
add --seeds 3
add --epochs 10
exec cargo run --release --quiet -- compare --data "$data" --out "$out" \
    --width 784 --hidden 4 --activation leaky-relu:0.1 --init orthogonal --scale unit \
    --loss squared --optimizer published-adam --batch 60 --shuffle false --gamma 0.001 \
    --regularizer exact --ortho-form published --ortho-side rows --inverse auto --tolerance 0.001 \
    --grid bp.lr=1e-4 --grid bp.lambda=0 --grid gait.lr=1e-4 --grid gait.lambda=0.1 --grid tp.lr=1e-5 --grid tp.lambda=1000 \
    $set_flags "$@"
