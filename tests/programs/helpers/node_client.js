// node_client.js PORT: requests on connections that stay open, and streams of some MB both ways at once.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const http = require('http');
const { Readable } = require('stream');

const port = Number(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const sha = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

function ask(path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, path, agent, method: body ? 'POST' : 'GET' }, (response) => {
      const sum = crypto.createHash('sha256');
      let size = 0;
      const parts = [];
      response.on('data', (data) => {
        sum.update(data);
        size += data.length;
        if (size < 1000) parts.push(data);
      });
      response.on('error', reject);
      response.on('end', () => resolve({ size, sum: sum.digest('hex').slice(0, 16), text: Buffer.concat(parts).toString() }));
    });
    request.on('error', reject);
    if (body) Readable.from(body).pipe(request);
    else request.end();
  });
}

async function main() {
  for (let n = 0; n < 100; n++) assert.strictEqual((await ask(`/name/${n}`)).text, `hello from /name/${n}`);
  const many = await Promise.all(Array.from({ length: 200 }, (_, n) => ask(`/name/${n}`)));
  console.log('many', sha(many.map((one) => one.text).join('\n')));
  for (const size of [0, 1, 65536, 5000000]) console.log('bytes', size, JSON.stringify(await ask(`/bytes/${size}`)));
  const pieces = Array.from({ length: 100 }, (_, n) => Buffer.alloc(50000, `piece ${n}`));
  console.log('sum', (await ask('/sum', pieces)).text);
  const echoes = await Promise.all(Array.from({ length: 6 }, () => ask('/echo', pieces)));
  for (const echo of echoes) assert.strictEqual(echo.sum, sha(Buffer.concat(pieces)));
  console.log('echoes', echoes.length);
  agent.destroy();
}

main();
