// The limit and the session check go out together, each connection pipelines what one turn of the event loop asks for, and every
// answer is serialised by a compiled schema.
import { randomBytes } from 'node:crypto';
import { verify } from '@node-rs/argon2';
import Fastify from 'fastify';
import { Redis } from 'ioredis';
import pg from 'pg';
import { schemas } from './schemas.js';

const SESSION_SECONDS = 86_400;
const PROFILE_SECONDS = 86_400;
const LIMIT = Number(process.env.LIMIT);
const LIMIT_WINDOW_SECONDS = 60;

export function createApp() {
  const state = new Redis(process.env.STATE_REDIS_URL, { enableAutoPipelining: true });
  const cache = new Redis(process.env.CACHE_REDIS_URL, { enableAutoPipelining: true });
  const users = new pg.Pool({ connectionString: process.env.AUTH_DATABASE_URL, max: 8 });
  const profiles = new pg.Pool({ connectionString: process.env.PROFILE_DATABASE_URL, max: 8 });

  const app = Fastify({ logger: false });
  app.decorateRequest('token', '');
  app.decorateRequest('session', null);

  // A fixed window per session, or per address for those who have none.
  async function limit(subject) {
    const key = `rate:${subject}`;
    const count = await cache.incr(key);
    if (count === 1) await cache.expire(key, LIMIT_WINDOW_SECONDS);
    if (count > LIMIT) throw failure(429, 'Too many requests');
  }

  async function limited(request) {
    await limit(request.ip);
  }

  async function signedIn(request) {
    const header = request.headers.authorization;
    if (!header?.startsWith('Bearer ')) throw failure(401, 'Not signed in');
    request.token = header.slice(7);
    const [, stored] = await Promise.all([limit(request.token), state.get(`sess:${request.token}`)]);
    if (stored === null) throw failure(401, 'Not signed in');
    request.session = JSON.parse(stored);
  }

  app.get('/health', async () => 'OK');

  app.post('/v1/login', { schema: schemas.login, onRequest: limited }, async (request) => {
    const { username, password } = request.body;
    const found = await users.query({
      name: 'user-by-name',
      text: 'SELECT id, username, email, password_hash, created_at FROM users WHERE username_key = $1',
      values: [username.toLowerCase()],
    });
    const user = found.rows[0];
    if (!user || !(await verify(user.password_hash, password))) {
      throw failure(401, 'Invalid username or password');
    }
    const token = randomBytes(32).toString('base64url');
    const session = {
      user: { id: user.id, username: user.username, email: user.email, createdAt: user.created_at },
      createdAt: new Date(),
    };
    await state.set(`sess:${token}`, JSON.stringify(session), 'EX', SESSION_SECONDS);
    return { token, expiresIn: SESSION_SECONDS, user: session.user };
  });

  app.post('/v1/logout', { onRequest: signedIn }, async (request, reply) => {
    await state.del(`sess:${request.token}`);
    reply.code(204);
  });

  app.get('/v1/me', { schema: schemas.me, onRequest: signedIn }, async ({ session }) => ({
    ...session.user,
    session: { createdAt: session.createdAt, expiresIn: SESSION_SECONDS },
  }));

  app.get('/v1/profile', { schema: schemas.profile, onRequest: signedIn }, async ({ session }) => {
    const { id } = session.user;
    const cached = await cache.get(`profile:${id}`);
    if (cached !== null) return JSON.parse(cached);
    const text = 'SELECT * FROM profiles WHERE user_id = $1';
    const found = await profiles.query({ name: 'profile', text, values: [id] });
    return remember(found.rows[0]);
  });

  app.patch('/v1/profile', { schema: schemas.changeProfile, onRequest: signedIn }, async ({ session, body }) => {
    const text = `UPDATE profiles SET display_name = coalesce($2, display_name), bio = coalesce($3, bio), updated_at = now(),
      version = version + 1 WHERE user_id = $1 RETURNING *`;
    const values = [session.user.id, body.displayName ?? null, body.bio ?? null];
    const changed = await profiles.query({ name: 'change-profile', text, values });
    return remember(changed.rows[0]);
  });

  async function remember(row) {
    if (!row) throw failure(404, 'No such profile');
    const profile = profileOf(row);
    await cache.set(`profile:${profile.id}`, JSON.stringify(profile), 'EX', PROFILE_SECONDS);
    return profile;
  }

  return app;
}

function failure(statusCode, message) {
  return Object.assign(new Error(message), { statusCode });
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
