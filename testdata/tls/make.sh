#!/bin/sh
# Makes the certificates of this folder anew, with openssl 3; all keys of CAs are thrown away.
set -e
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/conf" <<END
[ca]
default_ca = x
[x]
database = $work/index
serial = $work/serial
new_certs_dir = $work
default_md = sha256
policy = p
unique_subject = no
[p]
commonName = supplied
END
: > "$work/index"
openssl rand -hex 8 > "$work/serial"

certificate() {     # file, name, extensions, last day, signer (or -selfsign)
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" \
        -keyout "$work/$1.key" -out "$work/$1.csr" 2>/dev/null
    printf "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n$3" > "$work/$1.ext"
    if [ "$5" = -selfsign ]; then by="-selfsign -keyfile $work/$1.key"; else by="-cert $5.pem -keyfile $work/$5.key"; fi
    openssl ca -batch -config "$work/conf" $by -in "$work/$1.csr" -notext -extfile "$work/$1.ext" \
        -startdate 20200101000000Z -enddate "$4" -out "$1.pem" 2>/dev/null
}

authority="basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign,cRLSign\n"
leaf="basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n"
here="${leaf}subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n"
late=21200101000000Z
certificate ca "zkwire test CA" "$authority" $late -selfsign
certificate other-ca "somebody else's CA" "$authority" $late -selfsign
certificate server "zkwire test server" "$here" $late ca
certificate client "zkwire test client" "$leaf" $late ca
certificate expired "zkwire test server of old" "$here" 20210101000000Z ca
certificate wrong-name "zkwire test server elsewhere" "${leaf}subjectAltName=DNS:elsewhere.example\n" $late ca
certificate stranger "stranger" "$here" $late other-ca
certificate self-signed "self-made" "$here" $late -selfsign
for name in server client expired wrong-name stranger self-signed; do
    cat "$work/$name.key" >> "$name.pem"
done
openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:secret -in "$work/client.key" -out encrypted.pem
