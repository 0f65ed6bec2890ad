# For docs/quick-start-laptop.md and the pages under docs/how-to: a PKI with
# openssl, and manifests made of it. Read it into your shell: . ./functions.sh
mkdir -p pki manifests

# new_ca NAME
new_ca() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj "/CN=$1" -keyout "pki/$1.key" -out "pki/$1.crt" 2>/dev/null
}

# new_leaf NAME CA serverAuth|clientAuth ALTERNATIVE-NAMES
new_leaf() {
  printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$3" "$4" > "pki/$1.ext"
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj "/CN=$1" -keyout "pki/$1.key" -out "pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "pki/$1.csr" -CA "pki/$2.crt" -CAkey "pki/$2.key" -CAcreateserial \
    -days 30 -extfile "pki/$1.ext" -out "pki/$1.crt" 2>/dev/null
}

# Manifests are replaced in one step: the operator reads them as they change.
manifest() { cat > "manifests/.$1.tmp" && mv "manifests/.$1.tmp" "manifests/$1.yaml"; }

# tls_secret NAME LEAF OFFERABLE: only a Secret with that label is ever offered.
tls_secret() {
  manifest "$1" <<END
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {name: $1, labels: {opamp-operator.dev/offerable: "$3"}}
data: {tls.crt: $(base64 -w0 "pki/$2.crt"), tls.key: $(base64 -w0 "pki/$2.key")}
END
}

# token_secret NAME
token_secret() {
  openssl rand -hex 32 | tr -d '\n' > "pki/$1"
  manifest "$1" <<END
apiVersion: v1
kind: Secret
metadata: {name: $1}
stringData: {token: "$(cat "pki/$1")"}
END
}

# bundle NAME CA…
bundle() {
  name="$1" && shift
  manifest "$name" <<END
apiVersion: v1
kind: ConfigMap
metadata: {name: $name}
binaryData: {ca.crt: $(for ca in "$@"; do cat "pki/$ca.crt"; done | base64 -w0)}
END
}

# arrived REVISION: waits until every agent proved that it runs that revision.
arrived() {
  status=state/profiles/default/fleet.yaml
  field() { sed -n "s/^ *$1: //p" "$status" 2>/dev/null | head -n 1; }
  for _ in $(seq 120); do
    if [ "$(field number)" = "$1" ] && [ "$(field upToDate)" != 0 ] &&
      [ "$(field upToDate)" = "$(field matched)" ]; then
      echo "revision $1: $(field upToDate) of $(field matched) agents proved that they run it"
      return 0
    fi
    sleep 1
  done
  echo "revision $1 did not arrive within two minutes; $status says why" >&2
  return 1
}
