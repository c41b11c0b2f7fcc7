// node_server.js PORT [WORKERS]: HTTP in this process or in a cluster. /bytes/N streams N bytes, /sum tells the
// checksum of what was posted, /echo gives it back, /name says that somebody is here. Ends on SIGTERM.
'use strict';
const cluster = require('cluster');
const crypto = require('crypto');
const http = require('http');
const { Readable, pipeline } = require('stream');

const [port, workers] = process.argv.slice(2).map(Number);

function* bytes(left) {
  const chunk = Buffer.alloc(60000, 'landline');
  for (; left > 0; left -= chunk.length) yield chunk.subarray(0, Math.min(left, chunk.length));
}

function answer(request, response) {
  const [, what, size] = request.url.split('/');
  if (what === 'bytes') {
    pipeline(Readable.from(bytes(Number(size))), response, () => {});
  } else if (what === 'echo') {
    pipeline(request, response, () => {});
  } else if (what === 'sum') {
    const sum = crypto.createHash('sha256');
    request.on('data', (data) => sum.update(data)).on('end', () => response.end(sum.digest('hex')));
  } else {
    response.end(`hello from ${request.url}`);
  }
}

process.on('SIGTERM', () => {
  for (const worker of Object.values(cluster.workers || {})) worker.process.kill();
  process.exit(0);
});
if (workers && cluster.isPrimary) {
  for (let n = 0; n < workers; n++) cluster.fork();
} else {
  const server = http.createServer({ keepAliveTimeout: 30000 }, answer);
  server.listen({ port, host: '127.0.0.1', backlog: 128 });
}
