// What goes in is validated and what goes out is serialised by these; nothing else gets through either way.
const text = { type: 'string' };
const textOrNull = { type: ['string', 'null'] };

const user = { id: text, username: text, email: textOrNull, createdAt: text };

const profile = {
  type: 'object',
  properties: {
    id: text,
    username: text,
    displayName: text,
    bio: text,
    locale: text,
    timezone: text,
    role: text,
    links: { type: 'array', items: { type: 'object', properties: { label: text, url: text } } },
    avatarUrl: textOrNull,
    lastSeen: textOrNull,
    createdAt: text,
    updatedAt: text,
    version: { type: 'integer' },
  },
};

export const schemas = {
  profile: { response: { 200: profile } },
  changeProfile: {
    body: { type: 'object', properties: { displayName: text, bio: text } },
    response: { 200: profile },
  },
  me: {
    response: {
      200: {
        type: 'object',
        properties: {
          ...user,
          session: { type: 'object', properties: { createdAt: text, expiresIn: { type: 'integer' } } },
        },
      },
    },
  },
  login: {
    body: {
      type: 'object',
      required: ['username', 'password'],
      properties: { username: text, password: text },
    },
    response: {
      200: {
        type: 'object',
        properties: { token: text, expiresIn: { type: 'integer' }, user: { type: 'object', properties: user } },
      },
    },
  },
};
