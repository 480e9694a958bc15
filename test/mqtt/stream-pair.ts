import { Duplex } from 'node:stream';

/** Two ends of a connection in memory: what one writes the other reads. */
export class StreamPair {
  readonly stream: Duplex;
  readonly peer: Duplex;

  constructor() {
    this.stream = end(() => this.peer);
    this.peer = end(() => this.stream);
  }
}

function end(other: () => Duplex): Duplex {
  const duplex = new Duplex({
    read: () => undefined,
    write: (chunk, _encoding, done) => {
      other().push(chunk);
      done();
    },
    final: (done) => {
      other().push(null);
      done();
    },
    destroy: (_error, done) => {
      other().destroy();
      done(null);
    },
  });
  return duplex;
}
