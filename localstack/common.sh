# What `up` and `down` share: where things are, and the processes of a stack. Sourced, not run.
# shellcheck shell=bash disable=SC2034

# Programs are kept here between runs; data is not.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/clicklake/localstack
BUCKET=clicklake S3_KEY=clicklake S3_SECRET=clicklake-secret

# What `up` sets in a shell.
SETTINGS=(CLICKLAKE_BOOTSTRAP_SERVERS CLICKLAKE_LAKE
  AWS_ENDPOINT_URL AWS_ALLOW_HTTP AWS_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY)

say() { echo "localstack: $1" >&2; }
fail() { echo "error: $1" >&2; exit 3; }

# The process of a server, if it is one of this folder's: ids are used again.
process_of() {
  local id
  id=$(cat "$folder/$1/pid" 2>/dev/null) && grep -qsF "$folder/$1/" "/proc/$id/cmdline" && echo "$id"
}

is_running() { process_of "$1" >/dev/null; }

# Starts a server of its own session, so that it outlives this shell and is not told of its Ctrl-C.
start() {
  local name=$1
  shift
  mkdir -p "$folder/$name"
  setsid "$@" >> "$folder/$name/log" 2>&1 < /dev/null 8>&- 9>&- &
  echo $! > "$folder/$name/pid"
}

is_open() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Waits a little for ports to be free: a server that was just killed takes a moment to let go of its own.
must_be_free() {
  local port until=$((SECONDS + FREE_MAX))
  for port in "$@"; do
    while is_open "$port"; do
      [ "$SECONDS" -lt "$until" ] || fail "port $port is in use; name others with --ports KAFKA,TLS,CONTROLLER,S3"
      sleep 0.1
    done
  done
}

# Whether something answers a request, whatever it says.
answers() {
  # shellcheck disable=SC2059
  (exec 3<> "/dev/tcp/127.0.0.1/$1" && printf "$2" >&3 && [ "$(timeout 2 head -c 1 <&3 | wc -c)" = 1 ]) 2>/dev/null
}

# Waits until a server answers a request at a port.
wait_for() {
  local until=$((SECONDS + START_MAX))
  until answers "$2" "$3"; do
    # Not by its command line, which is this shell's until the program has begun.
    kill -0 "$(cat "$folder/$1/pid")" 2>/dev/null ||
      fail "$1 has ended; see $folder/$1/log: $(grep -m 1 -E 'ERROR|FATAL' "$folder/$1/log")"
    [ "$SECONDS" -lt "$until" ] || fail "$1 does not answer after $START_MAX s; see $folder/$1/log"
    sleep 0.1
  done
}
