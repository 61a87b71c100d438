// Check signed verdicts with Sigstore's own verifier and none of bpfcompat's code; inclusion in the log is required.
//
//	npm install @sigstore/verify@4.1.3
//	NODE_PATH=node_modules node checkbundles.js TRUSTED-ROOT PUBLISHER.pub BUNDLE...
//
// Says `ok` or `refused: …` of each bundle: whether it is signed by this key and in this log.  What the verdict is, the
// statement inside says.  Exit code 1 when one is refused.
const fs = require('fs'), { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const [rootFile, keyFile, ...bundles] = process.argv.slice(2);
const root = TrustedRoot.fromJSON(JSON.parse(fs.readFileSync(rootFile)));
const publicKey = require('crypto').createPublicKey(fs.readFileSync(keyFile));
const verifier = new Verifier(toTrustMaterial(root, () => ({ publicKey, validFor: () => true })),
                              { tlogThreshold: 1, ctlogThreshold: 0, timestampThreshold: 0 });
for (const file of bundles) {
  let said = 'ok';
  try { verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(fs.readFileSync(file))))); }
  catch (error) { said = 'refused: ' + error.message.split('\n')[0]; process.exitCode = 1; }
  console.log(said);
}
