// Register is left out: the benchmark brings its own users. Everything else is what the articles show: one middleware after
// the other, each awaiting its own call to Redis.
import { randomBytes } from 'node:crypto';
import { verify } from '@node-rs/argon2';
import express from 'express';
import pg from 'pg';
import { createClient } from 'redis';

const SESSION_SECONDS = 86_400;
const PROFILE_SECONDS = 86_400;
const LIMIT = Number(process.env.LIMIT);
const LIMIT_WINDOW_SECONDS = 60;

export async function createApp() {
  const state = await createClient({ url: process.env.STATE_REDIS_URL }).connect();
  const cache = await createClient({ url: process.env.CACHE_REDIS_URL }).connect();
  const users = new pg.Pool({ connectionString: process.env.AUTH_DATABASE_URL, max: 8 });
  const profiles = new pg.Pool({ connectionString: process.env.PROFILE_DATABASE_URL, max: 8 });

  const app = express();
  app.use(express.json());
  app.get('/health', (req, res) => res.send('OK'));

  function bearer(req, res, next) {
    const [scheme, token] = (req.get('authorization') ?? '').split(' ');
    req.token = scheme === 'Bearer' && token ? token : undefined;
    next();
  }

  // A fixed window per session, or per address for those who have none.
  async function limit(req, res, next) {
    const key = `rate:${req.token ?? req.ip}`;
    const count = await cache.incr(key);
    if (count === 1) await cache.expire(key, LIMIT_WINDOW_SECONDS);
    if (count > LIMIT) return res.status(429).set('Retry-After', `${LIMIT_WINDOW_SECONDS}`).json({ error: 'Too many requests' });
    next();
  }

  async function signedIn(req, res, next) {
    const stored = req.token && (await state.get(`sess:${req.token}`));
    if (!stored) return res.status(401).json({ error: 'Not signed in' });
    req.session = JSON.parse(stored);
    next();
  }

  app.use('/v1', bearer, limit);

  app.post('/v1/login', async (req, res) => {
    const { username, password } = req.body;
    const found = await users.query(
      'SELECT id, username, email, password_hash, created_at FROM users WHERE username_key = $1',
      [String(username).toLowerCase()],
    );
    const user = found.rows[0];
    if (!user || !(await verify(user.password_hash, String(password)))) {
      return res.status(401).json({ error: 'Invalid username or password' });
    }
    const token = randomBytes(32).toString('base64url');
    const session = {
      user: { id: user.id, username: user.username, email: user.email, createdAt: user.created_at },
      createdAt: new Date(),
    };
    await state.set(`sess:${token}`, JSON.stringify(session), { EX: SESSION_SECONDS });
    res.json({ token, expiresIn: SESSION_SECONDS, user: session.user });
  });

  app.post('/v1/logout', signedIn, async (req, res) => {
    await state.del(`sess:${req.token}`);
    res.status(204).end();
  });

  app.get('/v1/me', signedIn, (req, res) => {
    res.json({ ...req.session.user, session: { createdAt: req.session.createdAt, expiresIn: SESSION_SECONDS } });
  });

  app.get('/v1/profile', signedIn, async (req, res) => {
    const { id } = req.session.user;
    const cached = await cache.get(`profile:${id}`);
    if (cached) return res.json(JSON.parse(cached));
    const found = await profiles.query('SELECT * FROM profiles WHERE user_id = $1', [id]);
    if (!found.rows[0]) return res.status(404).json({ error: 'No such profile' });
    res.json(await remember(profileOf(found.rows[0])));
  });

  app.patch('/v1/profile', signedIn, async (req, res) => {
    const { displayName = null, bio = null } = req.body;
    const changed = await profiles.query(
      `UPDATE profiles SET display_name = coalesce($2, display_name), bio = coalesce($3, bio), updated_at = now(),
       version = version + 1 WHERE user_id = $1 RETURNING *`,
      [req.session.user.id, displayName, bio],
    );
    if (!changed.rows[0]) return res.status(404).json({ error: 'No such profile' });
    res.json(await remember(profileOf(changed.rows[0])));
  });

  async function remember(profile) {
    await cache.set(`profile:${profile.id}`, JSON.stringify(profile), { EX: PROFILE_SECONDS });
    return profile;
  }

  return app;
}

function profileOf(row) {
  return {
    id: row.user_id,
    username: row.username,
    displayName: row.display_name,
    bio: row.bio,
    locale: row.locale,
    timezone: row.timezone,
    role: row.role,
    links: row.links,
    avatarUrl: row.avatar_url,
    lastSeen: row.last_seen,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    version: Number(row.version),
  };
}
