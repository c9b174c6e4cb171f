#!/usr/bin/env bash
# Makes .venv, .venv-sam, .venv-audit and .venv-site what the lock files say, and fetches the jars of Spark and of the contract
# tests' servers. Run by `make setup`; safe to run again.
#
# Each step leaves a stamp named by the digest of what it was made from, so a second run only compares digests.
# With the word spark35 it makes .venv-spark35 instead, once .venv is there; with soak it sees to what only the long
# tests need.
# PYTHON=/path/to/python3 chooses the interpreter of the environments (3.11 or later).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

apt_updated=0
# install_or_name WHAT PACKAGES...: as root on Debian or Ubuntu install them, elsewhere name the one command and stop.
install_or_name() {
    local what=$1; shift
    if command -v apt-get >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ]; then
            say "$what is missing: apt-get install -y $*"
            if [ "$apt_updated" = 0 ]; then apt-get update -qq; apt_updated=1; fi
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
            return
        fi
        die "$what is missing. Install it, then run make setup again:  sudo apt-get install -y $*"
    fi
    case "$what" in
        Java*) die "$what is missing. Install it, then run make setup again:  brew install openjdk@17" ;;
        Maven) die "$what is missing. Install it, then run make setup again:  brew install maven" ;;
        Node.js*) die "$what is missing. Install it, then run make soak again:  brew install node" ;;
        Chromium) die "$what is missing. Install it, then run make soak again:  brew install chromium" ;;
        *) die "$what is missing. Install it, then run make setup again:  brew install python@3.13" ;;
    esac
}

python_is_usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
        # A pyenv shim answers `command -v` for versions that are not active, so the candidate is run.
        if command -v "$candidate" >/dev/null 2>&1 && python_is_usable "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

java_is_usable() {
    local java=${JAVA_HOME:+$JAVA_HOME/bin/}java release
    command -v "$java" >/dev/null 2>&1 || return 1
    release=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
    [ "${release:-0}" -ge 17 ] || return 1
    # Spark starts its driver with --add-modules=jdk.incubator.vector; a cut-down runtime without it dies at start.
    "$java" --list-modules 2>/dev/null | grep -q '^jdk.incubator.vector'
}

java_package() {
    local candidate
    for candidate in openjdk-17-jre-headless openjdk-21-jre-headless; do
        if apt-cache show "$candidate" >/dev/null 2>&1; then echo "$candidate"; return; fi
    done
    echo default-jre-headless
}

check_prerequisites() {
    [ "$(uname)" = Linux ] || [ "$(uname)" = Darwin ] || die "this setup knows Linux and macOS only (on Windows use WSL)"
    find_python >/dev/null || install_or_name "Python 3.11 or later" python3 python3-venv
    python=$(find_python) || die "Python 3.11 or later is missing. Install one and name it:  make setup PYTHON=/path/to/python3.11"
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 \
        || install_or_name "Python's venv module" "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    if ! java_is_usable; then
        install_or_name "Java 17 or later (with the module jdk.incubator.vector)" "$(java_package 2>/dev/null || echo openjdk-17-jre-headless)"
        java_is_usable || die "Java 17 or later with jdk.incubator.vector is still not the java that runs here; point JAVA_HOME at it"
    fi
    command -v mvn >/dev/null 2>&1 || install_or_name "Maven" maven
}

digest() { cat "$@" | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:20])'; }

# A clone that was moved or copied: its environments' scripts still name the old folder, and would run its code.
forget_moved() {
    local dir
    for dir in .venv .venv-sam .venv-audit .venv-site .venv-cdk .venv-spark35; do
        if [ -d "$dir" ] && [ -e "$dir/.folder" ] && [ "$(cat "$dir/.folder")" != "$PWD" ]; then
            say "$dir was made in $(cat "$dir/.folder"): making it anew for $PWD"
            rm -rf "$dir"
        fi
    done
}

# make_environment DIR LOCK: an environment that holds exactly the lock's packages (those that were added by hand stay).
make_environment() {
    local dir=$1 lock=$2 stamp
    stamp="$dir/.lock-$(digest "$lock" requirements/setup.sh)"
    if [ -e "$stamp" ] && "$dir/bin/python" -c '' 2>/dev/null; then return; fi
    rm -f "$dir"/.lock-*
    if ! "$dir/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$dir"
        "$python" -m venv "$dir"
    fi
    python_is_usable "$dir/bin/python" || die "$dir was made with a Python older than 3.11; remove it and run make setup again"
    say "installing $(grep -c '==' "$lock") locked packages into $dir"
    install_locked "$dir" "$lock"
    printf '%s\n' "$PWD" >"$dir/.folder"
    touch "$stamp"
}

# uv installs the same files by the same hashes in half of pip's time. Where it finds no index (it does not read pip's
# configuration), pip does it.
install_locked() {
    local dir=$1 lock=$2
    if uv_is_there && .venv/bin/uv pip install --quiet --python "$dir/bin/python" --no-deps --require-hashes \
        --compile-bytecode -r "$lock" 2>"$dir/.uv.log"; then return; fi
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
}

uv_is_there() {
    [ -x .venv/bin/uv ] || {
        # uv's own lines of the lock: its version and hashes.
        awk '/^[^ #]/ {ours = /^uv==/} ours' requirements/main.txt >.venv/.uv.txt
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/.uv.txt
    }
}

install_project() {
    local stamp site
    stamp=".venv/.project-$(digest pyproject.toml requirements/setup.sh)"
    if [ -e "$stamp" ] && [ -x .venv/bin/lakebound ]; then return; fi
    say "installing lakebound itself (editable)"
    rm -f .venv/.project-*
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    # The functions, the demo and the tests are no part of the wheel, but `.venv/bin/python` finds them from any folder.
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$PWD" "$PWD/src" "$PWD/spark" >"$site/lakebound-workspace.pth"
    # The one that pyspark brings asks the system's python3 where Spark is, which does not know this environment.
    cat >.venv/bin/spark-submit <<'WRAPPER'
#!/usr/bin/env bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYSPARK_PYTHON=${PYSPARK_PYTHON:-$here/python}
export SPARK_HOME=${SPARK_HOME:-$("$here/python" "$here/find_spark_home.py")}
exec "$SPARK_HOME/bin/spark-submit" "$@"
WRAPPER
    touch "$stamp"
}

resolve_jars() {
    local stamp log
    stamp=".venv/.jars-$(digest requirements/main.txt requirements/resolve_jars.py spark/lakebound_spark/{local,s3a}.conf)"
    # The cache lies in the home folder: it can go while the stamp stays.
    if [ -e "$stamp" ] && ls "$HOME"/.ivy2*/jars/*delta-spark* "$HOME"/.ivy2*/jars/*hadoop-aws* >/dev/null 2>&1; then return; fi
    say "fetching the jars of Delta, spark-avro and hadoop-aws through Spark (once, into ~/.ivy2*)"
    rm -f .venv/.jars-*
    mkdir -p .build
    log=.build/jars.log
    rm -f "$log"
    .venv/bin/python requirements/resolve_jars.py "$log" >>"$log" 2>&1 || {
        tail -20 "$log" >&2
        die "Spark could not resolve its jars (whole log: $log). Is Maven Central reachable from here?"
    }
    touch "$stamp"
}

# What the contract tests ask of Maven, so that no test waits for a download: ElasticMQ and DynamoDB Local.
resolve_servers() {
    local pom name kept
    for pom in tests/contract/*/pom.xml; do
        name=$(basename "$(dirname "$pom")")
        # The file and its name are those of tests/contract/conftest.py.
        kept=.build/$name/$(digest "$pom" | cut -c1-16).classpath
        if [ -e "$kept" ] && ls $(tr ':' ' ' <"$kept") >/dev/null 2>&1; then continue; fi
        say "fetching $name for the contract tests through Maven (once, into ~/.m2)"
        mkdir -p ".build/$name"
        mvn -q -B -f "$pom" dependency:build-classpath "-Dmdep.outputFile=$PWD/$kept.$$" >".build/$name/maven.log" 2>&1 || {
            tail -20 ".build/$name/maven.log" >&2
            die "Maven could not resolve $pom (whole log: .build/$name/maven.log). Is Maven Central reachable from here?"
        }
        mv "$kept.$$" "$kept"
    done
}

# The Spark suite's second environment, for `make test-spark35` only. Spark fetches its jars at the first start.
make_spark35() {
    make_environment .venv-spark35 requirements/spark35.txt
    printf '%s\n' "$PWD" "$PWD/src" "$PWD/spark" \
        >"$(.venv-spark35/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/lakebound-workspace.pth"
}

started=$SECONDS
check_prerequisites
forget_moved
if [ "${1:-}" = spark35 ]; then make_spark35; exit; fi
if [ "${1:-}" = soak ]; then
    command -v chromium >/dev/null 2>&1 || install_or_name Chromium chromium
    command -v node >/dev/null 2>&1 || install_or_name "Node.js, which CDK runs on," nodejs
    command -v terraform >/dev/null 2>&1 \
        || die "Terraform 1.9 or later is missing. Install it as its makers say, then run make soak again"
    make_environment .venv-cdk requirements/cdk.txt
    exit
fi
make_environment .venv requirements/main.txt
# The other environments do not touch the first: they are filled while Spark fetches its jars.
make_environment .venv-sam requirements/sam.txt &
sam=$!
make_environment .venv-audit requirements/audit.txt &
audit=$!
make_environment .venv-site requirements/site.txt &
site=$!
resolve_servers &
servers=$!
trap 'kill "$sam" "$audit" "$site" "$servers" 2>/dev/null || true' EXIT
install_project
resolve_jars
wait "$sam"
wait "$audit"
wait "$site"
wait "$servers"
trap - EXIT
say "ready in $((SECONDS - started)) s"
