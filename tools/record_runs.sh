#!/usr/bin/env bash
# Makes the runs in data/recorded again, on CIFAR-10 and CIFAR-100: the short ones, then the study.
# Hours on two cores, and a day or more for the study.
#   tools/record_runs.sh                     all of them
#   tools/record_runs.sh first_order         of the short ones those of one method
# A run that was stopped goes on, and one that is finished is only written again. In the short
# ones the lesson profile is cut so that they fit an afternoon; meta.json names what was overridden.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

for method in ${1:-first_order finite_difference}; do
  search=search-cifar10-$method
  common=(--profile lesson --resume)
  $python -m dartslib search "${common[@]}" --method "$method" --set epochs=2 --record "$search"
  $python -m dartslib train "${common[@]}" --part compare --genotype "$search" \
    --set epochs=2 --record "compare-cifar10-$method"
  $python -m dartslib train "${common[@]}" --genotype "$search" \
    --set epochs=1 --set channels=8 --record "final-cifar10-$method"
  $python -m dartslib transfer "${common[@]}" --genotype "$search" \
    --set epochs=1 --set channels=8 --record "transfer-cifar100-$method"
done

$python -m dartslib study --profile lesson --seeds 1 --record study
