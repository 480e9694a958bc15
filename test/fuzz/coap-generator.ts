import { OctetWriter, bodyOctets } from './bodies.ts';
import type { BodyKind } from './bodies.ts';
import { mutate } from './mutate.ts';
import type { Dice, Input } from './target.ts';

/** Peers that datagrams come from; the channel of an input is the number of its peer. */
export const peersMax = 8;

/** What a stream of datagrams is made of. */
export interface CoapTraffic {
  /** What the bodies of requests are. */
  readonly kind: BodyKind;
  /** True to have requests opened (`N ask`) and answers to them made up (`N answer`), as the subject then knows them. */
  readonly hasClient: boolean;
}

/** A body on its way in blocks. */
interface Transfer {
  readonly path: string;
  readonly options: number;
  readonly exponent: number;
  readonly body: Uint8Array;
  number: number;
}

const paths = ['gw1', '~/id-mn1/Sgw1', '-/gw1/commands', '_/sp.example/id-in/x', '', 'notify', '~', 'ü/%2F'];
const queries = ['fu=1', 'rcn=9', 'lbl=a%3Db+c', '__proto__=1', 'ty=3+4', 'ty=x', 'rt=3', 'atrl=poa+lbl', 'csi=%2Fid', '=', 'lim=99999999999', 'con', '%C3%28=%ff']; // prettier-ignore
const plainOptions = [1, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 20, 23, 27, 28, 31, 35, 39, 60, 258, 367, 2048, 2049, 65_000]; // prettier-ignore
const requestCodes = [1, 2, 2, 2, 3, 4, 5, 7, 31];
const answerCodes = [65, 68, 69, 69, 69, 95, 129, 132, 136, 141, 160, 163];

/** Datagrams of several peers: sound ones, spoilt ones, parts of block-wise bodies, repeats, sheer chance. */
export function generateCoap(dice: Dice, traffic: CoapTraffic): () => Input {
  const source = new DatagramSource(dice, traffic);
  return () => source.next();
}

class DatagramSource {
  readonly #dice: Dice;
  readonly #traffic: CoapTraffic;
  readonly #writer = new OctetWriter();
  readonly #bodies = new OctetWriter();
  readonly #recent: Input[] = [];
  readonly #transfers: (Transfer | undefined)[] = [];
  #messageId = 0;
  #option = 0;

  constructor(dice: Dice, traffic: CoapTraffic) {
    this.#dice = dice;
    this.#traffic = traffic;
  }

  next(): Input {
    const dice = this.#dice;
    const peer = dice.below(peersMax);
    const choice = dice.below(32);
    // A repeat, changed or not.
    const before = choice < 12 && this.#recent.length > 0 ? dice.pick(this.#recent) : undefined;
    if (before !== undefined) return choice < 2 ? before : { ...before, data: mutate(dice, before.data) };
    const input = this.#fresh(peer, choice);
    if (input.data.length < 4_096)
      this.#recent[this.#recent.length < 64 ? this.#recent.length : dice.below(64)] = input;
    return input;
  }

  #fresh(peer: number, choice: number): Input {
    const dice = this.#dice;
    const channel = `${peer}`;
    if (choice === 12) return { channel, data: dice.bytes(dice.below(dice.oneIn(50) ? 2_000 : 40)) };
    if (choice === 13) return { channel, data: this.#empty() };
    if (choice < 20) return { channel, data: this.#block(peer) };
    if (this.#traffic.hasClient && choice === 20)
      return { channel: `${peer} ask`, data: Uint8Array.of(dice.below(4)) };
    if (this.#traffic.hasClient && choice < 24) return { channel: `${peer} answer`, data: this.#answer() };
    return { channel, data: this.#request() };
  }

  #empty(): Uint8Array {
    this.#begin(this.#dice.below(4), 0, 0);
    return this.#writer.take();
  }

  #request(): Uint8Array {
    const dice = this.#dice;
    this.#begin(
      dice.oneIn(4) ? 1 : dice.oneIn(20) ? 2 + dice.below(2) : 0,
      dice.pick(requestCodes),
      dice.below(9),
    );
    const isOdd = dice.oneIn(4);
    if (isOdd) this.#odd(11);
    this.#path(dice.pick(paths));
    const format = dice.pick([60, 60, 50, 10_011, 41, 0]);
    this.#uint(12, format);
    for (let count = dice.oneIn(3) ? dice.below(4) : 0; count > 0; count--)
      this.#text(15, dice.pick(queries));
    if (dice.oneIn(2)) this.#uint(17, dice.pick([50, 60, 60, 0, 99_999]));
    if (isOdd) this.#odd(27);
    if (dice.oneIn(8)) this.#uint(23, dice.below(dice.oneIn(2) ? 64 : 2 ** 20));
    if (dice.oneIn(12)) this.#uint(27, dice.below(dice.oneIn(2) ? 64 : 2 ** 20));
    this.#primitive(isOdd);
    const json = format === 50 || format === 41;
    this.#payload(bodyOctets(dice, this.#bodies, this.#traffic.kind, json ? 'json' : 'cbor'));
    return this.#writer.take();
  }

  #answer(): Uint8Array {
    const dice = this.#dice;
    this.#begin(dice.pick([2, 2, 2, 0, 1, 3]), dice.pick(answerCodes), 8);
    if (dice.oneIn(4)) this.#uint(4, dice.below(3));
    if (dice.oneIn(8)) this.#uint(6, dice.below(2 ** 24));
    this.#uint(12, dice.pick([50, 60]));
    if (dice.oneIn(2)) this.#uint(23, dice.below(4) * 16 + dice.below(2) * 8 + dice.pick([0, 6, 7]));
    if (dice.oneIn(2)) this.#uint(27, dice.below(4) * 16 + dice.below(2) * 8 + dice.pick([0, 5, 6]));
    if (dice.oneIn(6)) this.#odd(400);
    this.#uint(307, dice.pick([2000, 2001, 4004, 0, 70_000]));
    this.#payload(
      dice.oneIn(2)
        ? new Uint8Array(dice.pick([16, 512, 1024]))
        : bodyOctets(dice, this.#bodies, 'content', 'cbor'),
    );
    return this.#writer.take();
  }

  /** The next part of the body that this peer sends; now and then another part than the next. */
  #block(peer: number): Uint8Array {
    const dice = this.#dice;
    const transfer = (this.#transfers[peer] ??= this.#transfer());
    const size = 2 ** (transfer.exponent + 4);
    const number = dice.oneIn(16) ? dice.below(2 ** dice.below(20)) : transfer.number;
    const part = transfer.body.subarray(number * size, (number + 1) * size);
    const isLast = (number + 1) * size >= transfer.body.length;
    transfer.number = number + 1;
    if (isLast || dice.oneIn(64)) this.#transfers[peer] = undefined;
    this.#begin(dice.oneIn(8) ? 1 : 0, 2, dice.below(9));
    this.#path(transfer.path);
    this.#uint(12, 60);
    if (dice.oneIn(8)) this.#uint(23, dice.below(64));
    this.#uint(
      27,
      number * 16 + (isLast === dice.oneIn(64) ? 8 : 0) + (dice.oneIn(64) ? 7 : transfer.exponent),
    );
    this.#text(279, '/id-mn1');
    this.#text(283, `b${transfer.options}`);
    this.#payload(part);
    return this.#writer.take();
  }

  #transfer(): Transfer {
    const dice = this.#dice;
    const isLarge = dice.oneIn(40);
    const body = isLarge
      ? new Uint8Array(dice.pick([8_192, 65_536, 66_560]))
      : bodyOctets(dice, this.#bodies, this.#traffic.kind, 'cbor');
    return {
      path: dice.pick(paths),
      options: dice.below(64),
      exponent: isLarge ? 6 : dice.below(3),
      body,
      number: 0,
    };
  }

  #begin(type: number, code: number, tokenBytes: number): void {
    const dice = this.#dice;
    this.#writer.reset();
    this.#option = 0;
    this.#messageId = dice.oneIn(16) ? dice.below(65_536) : (this.#messageId + 1) & 0xffff;
    this.#writer.octet(0x40 + type * 16 + (dice.oneIn(64) ? dice.below(16) : tokenBytes));
    this.#writer.octet(code);
    this.#writer.uint(this.#messageId, 2);
    for (let index = 0; index < tokenBytes; index++) this.#writer.octet(dice.uint32());
  }

  #primitive(isOdd: boolean): void {
    const dice = this.#dice;
    if (dice.oneIn(4)) this.#text(259, '20260101T000000');
    if (dice.oneIn(3)) this.#uint(267, dice.pick([2, 3, 4, 23, 28]));
    this.#text(271, '4');
    this.#text(279, dice.pick(['/id-mn1', 'Cgw1', '']));
    if (!dice.oneIn(12)) this.#text(283, `q${dice.below(100_000)}`);
    if (isOdd) this.#odd(363);
    if (dice.oneIn(16)) this.#text(291, dice.pick(['5000', '-1', '20200101T000000']));
  }

  #path(path: string): void {
    for (const segment of path.split('/')) this.#text(11, segment);
  }

  #text(number: number, text: string): void {
    this.#put(number, Buffer.from(text));
  }

  #uint(number: number, value: number): void {
    const octets: number[] = [];
    for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
    this.#put(number, Uint8Array.from(octets));
  }

  /** An option that does not belong, up to this number; many of them once in a while. */
  #odd(numberMax: number): void {
    const dice = this.#dice;
    for (let count = dice.oneIn(50) ? 255 + dice.below(4) : 1; count > 0; count--) {
      const number = dice.pick(plainOptions);
      if (number <= numberMax) this.#put(number, dice.bytes(dice.below(dice.oneIn(50) ? 400 : 6)));
    }
  }

  /** Options come in the order of their numbers; one of a lower number is written at the number reached. */
  #put(number: number, value: Uint8Array): void {
    const dice = this.#dice;
    const delta = Math.max(0, number - this.#option);
    this.#option += delta;
    const lie = dice.oneIn(256) ? dice.pick([1, -1, 12, 300]) : 0;
    const length = Math.max(0, value.length + lie);
    const head = (size: number): number => (size < 13 ? size : size < 269 ? 13 : 14);
    const isReserved = dice.oneIn(512);
    this.#writer.octet(isReserved ? 0xf0 + head(length) : head(delta) * 16 + head(length));
    for (const size of [delta, length]) {
      if (size >= 269) this.#writer.uint(size - 269, 2);
      else if (size >= 13) this.#writer.octet(size - 13);
    }
    this.#writer.put(value);
  }

  #payload(data: Uint8Array): void {
    if (data.length > 0 || this.#dice.oneIn(32)) this.#writer.octet(0xff);
    this.#writer.put(data);
  }
}
