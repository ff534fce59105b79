# Sourced by .ci/run and .ci/full: a fresh clone, one Python environment for the tools, and steps that are timed.
# Needs bash, git, timeout and a python3 >= 3.11 with venv; everything else is installed into a temporary folder.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
real_home=${HOME:-}
started=$SECONDS
ran=()
# Steps that were begun beside others: their names, limits and process ids.
beside_names=() beside_limits=() beside_pids=()

die() {
    printf '\n.ci: %s\n' "$*" >&2
    exit 1
}

for tool in git timeout python3 mktemp sed; do
    command -v "$tool" >/dev/null || die "'$tool' is missing; on Debian: apt-get install git coreutils python3 python3-venv"
done
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 is $(python3 --version); 3.11 or newer is needed"
python3 -c 'import ensurepip, venv' 2>/dev/null || die "python3 has no venv; on Debian: apt-get install python3-venv"

work=$(mktemp -d)
# shellcheck disable=SC2046  # one word for each process
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
clone=$work/clone
tools=$work/tools/bin
# Nothing of the machine's user leaks in: no pip cache, no git or pip settings.
export HOME=$work/home PYRIGHT_PYTHON_IGNORE_WARNINGS=1 NO_COLOR=1
export PIP_RETRIES=10 PIP_DEFAULT_TIMEOUT=${PIP_DEFAULT_TIMEOUT:-60} PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
mkdir -p "$HOME"
# The checkout may belong to another user than the one who checks it.
printf '[safe]\n\tdirectory = *\n' >"$HOME/.gitconfig"

# step NAME SECONDS COMMAND...: run it in the clone, say how long it took, end everything if it fails.
step() {
    local name=$1 limit=$2 code=0 from=$SECONDS
    shift 2
    printf '\n== %s\n' "$name"
    (cd "$clone" && timeout --kill-after=10 "$limit" "$@") || code=$?
    judge "$name" "$limit" "$code" $((SECONDS - from))
}

judge() {
    local name=$1 limit=$2 code=$3 took=$4
    if ((code == 124 || code == 137)); then
        die "step '$name' was ended after its limit of $limit s"
    elif ((code)); then
        die "step '$name' failed with exit code $code after $took s"
    fi
    printf -- '-- %s: %d s\n' "$name" "$took"
    ran+=("$name")
}

# beside NAME SECONDS COMMAND...: begin a step that uses one core at most, beside others of that kind. `together` waits.
beside() {
    beside_names+=("$1") beside_limits+=("$2")
    local log=$work/beside.${#beside_names[@]}
    shift 2
    (cd "$clone" && exec timeout --kill-after=10 "${beside_limits[-1]}" "$@") >"$log" 2>&1 &
    beside_pids+=($!)
}

# together: wait for all steps begun beside each other, show what each of them printed, end everything if one has failed.
together() {
    local place codes=() from=$SECONDS
    for place in "${!beside_pids[@]}"; do
        codes[place]=0
        wait "${beside_pids[place]}" || codes[place]=$?
    done
    for place in "${!beside_pids[@]}"; do
        printf '\n== %s\n' "${beside_names[place]}"
        cat "$work/beside.$((place + 1))"
    done
    for place in "${!beside_pids[@]}"; do
        judge "${beside_names[place]}" "${beside_limits[place]}" "${codes[place]}" $((SECONDS - from))
    done
    beside_names=() beside_limits=() beside_pids=()
}

# The commit, not the work tree: what is not committed is not tested, and is said so.
fresh_clone() {
    git clone --quiet "$here" "$1" || die "cannot clone $here"
}

check_out() {
    local dirty
    dirty=$(git -C "$here" status --porcelain 2>/dev/null || true)
    [ -z "$dirty" ] || printf '.ci: these changes are not committed and therefore not tested:\n%s\n' "$dirty"
    fresh_clone "$clone"
    printf '.ci: %s on %s, %s, %s cores\n' "$(git -C "$clone" log -1 --format='%h %s')" "$(uname -sm)" "$(python3 --version)" "$(nproc)"
}

# Install with a second and third try: a registry may stall for longer than pip's own retries.
install() {
    local try
    for try in 1 2 3; do
        "$@" && return 0
        printf '.ci: try %d of 3 failed: %s\n' "$try" "$*" >&2
        sleep $((try * 5))
    done
    return 1
}
export -f install

# make_tools EXTRAS: what is needed, and compiled only where it is imported.
make_tools() {
    python3 -m venv "$work/tools"
    step "install the tools" 400 bash -c 'install "$0" -m pip install -q --no-compile -e ".[$1]"' "$tools/python" "$1"
    local tool
    for tool in ruff mypy pyright pytest zensical; do
        [ -x "$tools/$tool" ] || die "'$tool' was not installed; see the check extra in pyproject.toml"
    done
}

# The steps that must have run, in order: a step that somebody commented out is a failure.
finish() {
    local budget=$1 expected took=$((SECONDS - started))
    shift
    expected=$(printf '%s\n' "$@")
    [ "$expected" = "$(printf '%s\n' "${ran[@]}")" ] || die "the steps that ran are not the steps that must run:
expected:
$expected
ran:
$(printf '%s\n' "${ran[@]}")"
    printf '\n.ci: %d steps in %d s' "${#ran[@]}" "$took"
    ((took <= budget)) || printf ' -- OVER the budget of %d s' "$budget"
    printf '\n'
}
