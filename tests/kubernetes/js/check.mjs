// Checks objects of the Gateway API and of Prometheus Operator: their values by the models' validators, and, since those let
// unknown members pass, their members by the models' types.
//
// node check.mjs < objects.json     prints one problem a line
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import * as gateway from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import * as monitoring from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import ts from "typescript";

const MODELS = {
  "gateway.networking.k8s.io/v1": [gateway, "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1"],
  "monitoring.coreos.com/v1": [monitoring, "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1"],
};

const objects = JSON.parse(readFileSync(0, "utf8"));
const lines = [];
const named = objects.map((object) => `${object.kind} ${object.metadata.name}`);
objects.forEach((object, index) => {
  const [models, from] = MODELS[object.apiVersion] ?? [];
  const Model = models?.[object.kind];
  if (!Model) {
    console.log(`${named[index]}: there is no model of ${object.apiVersion}`);
    return;
  }
  try {
    new Model(object).validate();
  } catch (error) {
    console.log(`${named[index]}: ${error.message}`);
  }
  lines.push([index, `import("${from}").I${object.kind}`, JSON.stringify(object)]);
});

// A literal with a member that its type does not have is an error to TypeScript, at any depth. The file is in memory only; its
// place is here, where the packages are found.
const file = fileURLToPath(new URL("objects.ts", import.meta.url));
const text = lines.map(([index, type, json]) => `export const o${index}: ${type} = ${json};\n`).join("");
const options = {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
};
const host = ts.createCompilerHost(options);
const { fileExists, readFile } = host;
host.fileExists = (name) => name === file || fileExists.call(host, name);
host.readFile = (name) => (name === file ? text : readFile.call(host, name));
for (const problem of ts.getPreEmitDiagnostics(ts.createProgram([file], options, host))) {
  const message = ts.flattenDiagnosticMessageText(problem.messageText, " ");
  const line = problem.file?.fileName === file ? problem.file.getLineAndCharacterOfPosition(problem.start).line : undefined;
  console.log(`${line === undefined ? "types" : named[lines[line][0]]}: ${message}`);
}
