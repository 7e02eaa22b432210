#!/bin/sh
# Signs in to the emulator with Microsoft's libraries, unmodified: msal and azure-identity (Python), msal4j (Java) and
# msal-browser in Chromium. `run.sh [python|java|browser]…`, all of them by default. Needs python3, a JDK of 17 or later
# with Maven, Node.js with npm, and Chromium; packages come from their registries.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
address=${ADDRESS:-127.0.0.1:18090}
. tests/sdk/emulator.sh

python() {
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet msal==1.39.0 azure-identity==1.27.0 requests
  REQUESTS_CA_BUNDLE="$work/ca.pem" "$work/venv/bin/python" -W ignore "$here/python/sign_in.py"
}

java() {
  mkdir "$work/java"
  cp -R "$here/java/." "$work/java"
  cd "$work/java"
  mvn --quiet --batch-mode compile dependency:build-classpath -Dmdep.outputFile=classpath
  keytool -importcert -noprompt -storetype PKCS12 -storepass changeit -keystore trust -alias emulator -file "$work/ca.pem"
  openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 1 -subj /CN=broker 2> /dev/null
  command java -Djavax.net.ssl.trustStore=trust -Djavax.net.ssl.trustStorePassword=changeit \
    -cp "target/classes:$(cat classpath)" SignIn certificate.pem key.pem
}

browser() {
  mkdir "$work/browser"
  cp -R "$here/browser/." "$work/browser"
  cd "$work/browser"
  npm install --silent --no-audit --no-fund
  npx esbuild app.js bridge.js --bundle --format=esm --outdir=out --log-level=error
  node browser.js
}

for part in "${@:-all}"; do
  case $part in
    all) (python); (java); (browser) ;;
    python | java | browser) ("$part") ;;
    *) echo "there is no part $part" >&2; exit 2 ;;
  esac
done
