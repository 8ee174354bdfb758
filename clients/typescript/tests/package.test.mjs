// The package, in an empty project, and the examples of the README as they stand.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import ts from 'typescript';
import { PACKAGE, RealServer } from './support.mjs';

const run = promisify(execFile);
const BLOCKS = [...readFileSync(join(PACKAGE, 'README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block);

let server, directory, project, packed;
before(async () => {
  server = await RealServer.start({ stage: 'live' });
  const flag = (key, type, variants) => {
    const [first] = Object.keys(variants);
    return server.request('POST', '/api/v1/flags', { key, type, variants, default_variant: first, off_variant: first, rules: [] });
  };
  await flag('new-player', 'boolean', { on: true, no: false });
  await flag('billing-allocation', 'string', { old: 'old', new: 'new' });
  await server.flag('greeting', 'Kia ora');
  await server.flag('invoices-stage', 'dualwrite');
  await server.request('PUT', '/api/v1/gates/invoice-mailer', { single_instance: true });

  directory = mkdtempSync(join(tmpdir(), 'changeover-ts-package-'));
  project = join(directory, 'project');
  mkdirSync(project);
  // Built before; what `prepack` does must not take the other tests' files away meanwhile.
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', directory], { cwd: PACKAGE });
  [packed] = JSON.parse(stdout);
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }');
  const tarball = join(directory, packed.filename);
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', '--omit=peer', '--loglevel=error', tarball], { cwd: project });
});
after(async () => {
  await server?.remove();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

async function node(name, code) {
  writeFileSync(join(project, name), ts.transpileModule(code, { compilerOptions: { target: 'ES2022', module: 'ESNext', verbatimModuleSyntax: true } }).outputText);
  const env = { ...process.env, CHANGEOVER_URL: server.url, CHANGEOVER_TOKEN: server.admin };
  const { stdout, stderr } = await run(process.execPath, [name], { cwd: project, env, timeout: 60_000 });
  assert.equal(stderr, '', code);
  return stdout;
}

test('it has what it needs, and nothing else', () => {
  const files = packed.files.map(({ path }) => path);
  assert.deepEqual(files.filter((path) => !path.startsWith('dist/')).sort(), ['LICENSE', 'README.md', 'package.json']);
  assert.ok(files.every((path) => /^dist\/[a-z0-9-]+(\.d\.ts|\.js)$/.test(path) || !path.startsWith('dist/')));
  const { exports, dependencies } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'));
  assert.equal(dependencies, undefined);
  const targets = JSON.stringify(exports).match(/dist\/[^"]+/g);
  for (const target of targets) assert.ok(files.includes(target), target);
});

test('the entry for pages reaches nothing of Node', () => {
  const seen = new Set();
  const follow = (name) => {
    if (seen.has(name)) return;
    seen.add(name);
    const text = readFileSync(join(PACKAGE, 'dist', name), 'utf8');
    for (const [, from] of text.matchAll(/from '([^']+)'/g)) {
      assert.ok(from.startsWith('./'), `${name} imports ${from}`);
      follow(from.slice(2));
    }
    assert.doesNotMatch(text, /\b(process|Buffer|require|global)\b[.([]/, name);
  };
  follow('web.js');
  assert.ok(seen.has('client.js') && !seen.has('file.js'));
});

test('it installs into an empty project, and the README\'s first lines work as pasted', async () => {
  const [first] = BLOCKS;
  assert.ok(first.trim().split('\n').length <= 10);
  writeFileSync(join(project, 'first.js'), first);
  const printed = await node('first.js', first);
  assert.match(printed, /^the new player\n/);
  assert.match(printed, /value: 'Kia ora'/);
  assert.ok(existsSync(join(project, 'flags.json')));
});

test('the other examples work', async () => {
  for (const name of ['express', '@openfeature']) symlinkSync(join(PACKAGE, 'node_modules', name), join(project, 'node_modules', name));
  const printed = [];
  for (const [at, block] of BLOCKS.slice(1).entries()) {
    printed.push(await node(`example-${at}.js`, `import { Client } from '@changeover/client';\nconst client = new Client();\n${block}\nawait client.close();\n`));
  }
  const [details, page, openFeature, migrator, change, app, worker] = printed;
  assert.equal(details, 'Kia ora v STATIC undefined\nKia ora\n');
  assert.deepEqual([page, app], ['', '']);
  assert.equal(openFeature, 'true\n');
  assert.equal(migrator, '{ total: 13 }\n');
  assert.match(change, /^old\n1 old\n2 old\n\[[^]*amount[^]*\]\nrow_differs \[/);
  assert.match(worker, /^mailed 1 \d+\nmailed 2 \d+\nmailed 3 \d+\n$/);
  assert.equal(printed.length, 7);
});

test('the examples please the compiler', () => {
  symlinkSync(join(PACKAGE, 'node_modules', '@types'), join(project, 'node_modules', '@types'));
  const files = BLOCKS.map((block, at) => {
    const path = join(project, `typed-${at}.ts`);
    const head = at === 0 ? '' : 'import { Client } from \'@changeover/client\';\nconst client = new Client();\n';
    writeFileSync(path, `${head}${block}`);
    return path;
  });
  const options = { strict: true, noEmit: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, esModuleInterop: true, skipLibCheck: true, types: ['node'], lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'] };
  const program = ts.createProgram(files, options);
  const told = ts.getPreEmitDiagnostics(program).map((one) => `${one.file?.fileName}: ${ts.flattenDiagnosticMessageText(one.messageText, '\n')}`);
  assert.deepEqual(told, []);
});
