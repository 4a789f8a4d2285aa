// One worker per core, as the articles do it. Prints `ready` once every worker listens.
import cluster from 'node:cluster';
import { createApp } from './app.js';

const workers = Number(process.env.WORKERS);

if (cluster.isPrimary) {
  let listening = 0;
  cluster.on('listening', () => {
    listening += 1;
    if (listening === workers) console.log('ready');
  });
  cluster.on('exit', (worker) => {
    console.error(`worker ${worker.id} has ended`);
    process.exit(1);
  });
  for (let i = 0; i < workers; i += 1) cluster.fork();
} else {
  const app = await createApp();
  app.listen(Number(process.env.PORT), '127.0.0.1');
}
