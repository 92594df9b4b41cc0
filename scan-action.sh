#!/usr/bin/env bash
# What action.yml runs: annotations into the log, a summary of the job, SARIF where it is asked for.
# Inputs come as variables, so that none of them is ever read as a command.
set -uo pipefail

options=(--fail-on "$SACDOCTOR_FAIL_ON")
if [ -n "$SACDOCTOR_BASELINE" ]; then
    options+=(--baseline "$SACDOCTOR_BASELINE")
fi
paths=()
while IFS= read -r path; do
    if [ -n "$path" ]; then paths+=("$path"); fi
done <<< "$SACDOCTOR_PATHS"

sacdoctor scan --format github "${options[@]}" -- "${paths[@]}"
code=$?
echo "exit-code=$code" >> "$GITHUB_OUTPUT"

# What is wrong was said once, on stderr, too.
sacdoctor scan --format markdown "${options[@]}" -- "${paths[@]}" \
    >> "$GITHUB_STEP_SUMMARY" 2> /dev/null
if [ -n "$SACDOCTOR_SARIF" ]; then
    sacdoctor scan --format sarif --output "$SACDOCTOR_SARIF" "${options[@]}" -- "${paths[@]}" \
        2> /dev/null
fi
exit "$code"
