#!/usr/bin/env bash
# Makes the runs in data/recorded again, on CIFAR-10 and CIFAR-100. Hours on two cores.
#   tools/record_runs.sh                     all of them
#   tools/record_runs.sh first_order         those of one method
# A run that was stopped goes on, and one that is finished is only written again. The lesson profile
# is cut short here so that all of it fits an afternoon; meta.json names what was overridden.
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
