// A process that does nothing beside one that is measured: what delays its event loop too is the machine's doing. Any
// message ends a round and begins the next; it answers the worst delay of the round, in ms.
import { watchStalls } from './stall-watch.ts';

let end = watchStalls();
process.on('message', () => {
  process.send?.(end().measuredMs);
  end = watchStalls();
});
process.send?.(0);
process.on('disconnect', () => process.exit());
