// One WebSocket end on the `ws` package. A command is a line of JSON on stdin, an event
// a line on stdout; peer.py beside this folder speaks the same.
import { createHash, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import WebSocket, { WebSocketServer } from 'ws';

const options = { perMessageDeflate: { threshold: 0 }, maxPayload: 64 << 20 };
let socket;

const tell = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));
const digest = (data) => createHash('sha256').update(data).digest('hex');
const about = (kind, data) => ({ kind, size: data.length, digest: digest(data) });

function take(opened) {
  socket = opened;
  socket.on('message', (data, isBinary) =>
    tell('message', about(isBinary ? 'binary' : 'text', data)));
  socket.on('pong', (data) => tell('pong', { data: data.toString() }));
  socket.on('close', (code, reason) => tell('closed', { code, reason: reason.toString() }));
  socket.on('error', () => {}); // what it leads to is told by 'close'
}

function serve() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...options });
  server.on('listening', () => tell('serving', { port: server.address().port }));
  server.on('connection', (opened) => {
    take(opened);
    tell('open', { extensions: opened.extensions });
  });
}

function connect({ url }) {
  const opened = new WebSocket(url, options);
  take(opened);
  opened.on('open', () => tell('open', { extensions: opened.extensions }));
  opened.on('unexpected-response', (_, answer) => {
    tell('refused', { status: answer.statusCode });
    answer.resume();
  });
}

function send({ kind, size, fragments }) {
  const data = kind === 'text' ? Buffer.from('é€𝄞'.repeat(size / 9)) : randomBytes(size);
  const binary = kind === 'binary';
  const step = Math.ceil(data.length / fragments);
  for (let at = 0; at < fragments; at += 1) {
    const part = data.subarray(at * step, (at + 1) * step);
    socket.send(part, { binary, fin: at === fragments - 1 });
  }
  tell('sent', about(kind, data));
}

const commands = {
  serve,
  connect,
  send,
  ping: ({ data }) => socket.ping(data),
  close: ({ code, reason }) => (code === null ? socket.close() : socket.close(code, reason)),
  abort: () => socket._socket.resetAndDestroy(),
};

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
lines.on('close', () => process.exit(0));
