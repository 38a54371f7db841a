"""All settings, from the environment. Each variable is explained in docs/settings.md."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

from dmr_project import __version__
from dmr_project.lib import env, mail_server, queues

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = __version__

# -- where and as what we run --
ENVIRONMENT = env.choice("DMR_ENV", ("development", "production"))
IS_PRODUCTION = ENVIRONMENT == "production"
DEBUG = False

HOST = env.text("DMR_HOST", "127.0.0.1")
PORT = env.number("DMR_PORT", 8000, 1, 65535)
_authority = f"[{HOST}]:{PORT}" if ":" in HOST else f"{HOST}:{PORT}"
PUBLIC_URL = env.url(
    "DMR_PUBLIC_URL", f"http://{_authority}", ("http", "https"), "https://dmr.example.ee/relay"
).rstrip("/")
TRUSTED_PROXIES = env.networks("DMR_TRUSTED_PROXIES")
DATA_DIR = Path(env.text("DMR_DATA_DIR", "var"))
if not DATA_DIR.is_absolute():
    DATA_DIR = BASE_DIR / DATA_DIR

_public = urlsplit(PUBLIC_URL)
PATH_PREFIX = _public.path


def _secret_key() -> str:
    """DMR_SECRET_KEY; in development one that is made once and kept in the data folder."""
    given = env.text("DMR_SECRET_KEY")
    if given:
        return given
    if IS_PRODUCTION:
        raise env.BadEnvironment("DMR_SECRET_KEY", "must be set in production, to 50 random characters or more")
    path = DATA_DIR / "secret-key"
    env.make_folder("DMR_DATA_DIR", DATA_DIR)
    # Written aside and linked into place, so that of several processes that start at once one wins for all.
    if not path.exists():
        fresh = DATA_DIR / f"secret-key.{os.getpid()}.{secrets.token_hex(4)}"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(50))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text()


SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = env.text("DMR_SECRET_KEY_FALLBACKS").split()

# -- staff --
ADMIN_USER = env.text("DMR_ADMIN_USER", "admin")
ADMIN_PASSWORD = env.text("DMR_ADMIN_PASSWORD")
ADMIN_API_KEY = env.text("DMR_ADMIN_API_KEY")
# "off", "all", or names of roles; what else is written is refused by a system check.
REQUIRE_SECOND_FACTOR = [
    each.strip() for each in env.text("DMR_REQUIRE_SECOND_FACTOR", "all" if IS_PRODUCTION else "off").split(",")
]
PASSWORD_LOG_IN = env.choice("DMR_PASSWORD_LOG_IN", ("everybody", "superusers"))
OIDC_ISSUER = env.url("DMR_OIDC_ISSUER", "", ("https", "http"), "https://id.example.ee/realms/core")
OIDC_CLIENT_ID = env.text("DMR_OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = env.text("DMR_OIDC_CLIENT_SECRET")
OIDC_NAME = env.text("DMR_OIDC_NAME")
OIDC_SCOPES = env.text("DMR_OIDC_SCOPES", "openid profile email")
OIDC_ROLES_CLAIM = env.text("DMR_OIDC_ROLES_CLAIM", "roles")
OIDC_ROLES = env.mapping("DMR_OIDC_ROLES", "core-admins=administrator")
OIDC_ACR_VALUES = env.text("DMR_OIDC_ACR_VALUES").split()
OIDC_PRIVATE_NETWORKS = env.networks("DMR_OIDC_PRIVATE_NETWORKS")
SESSION_IDLE_MINUTES = env.number("DMR_SESSION_IDLE_MINUTES", 30, 1, 24 * 60)
SESSION_HOURS = env.number("DMR_SESSION_HOURS", 8, 1, 7 * 24)

# -- limits of each sender, unless it has its own --
BURST_SECONDS = 10  # of its rate, that a sender may use at once
MESSAGES_PER_SECOND = env.number("DMR_MESSAGES_PER_SECOND", 500, 0, 1_000_000)
MESSAGES_BURST = env.number("DMR_MESSAGES_BURST", BURST_SECONDS * MESSAGES_PER_SECOND, 1, 10_000_000)
STORED_BYTES_PER_PARTICIPANT = env.number("DMR_STORED_BYTES_PER_PARTICIPANT", 10 * 1024**3, 0, 1024**5)

# -- outbound --
ALLOW_PRIVATE_ENDPOINTS = env.flag("DMR_ALLOW_PRIVATE_ENDPOINTS", default=not IS_PRODUCTION)
ALLOWED_PRIVATE_NETWORKS = env.networks("DMR_ALLOWED_PRIVATE_NETWORKS")
# A new delivery key is published this long before it signs, and the old one this long after: in seconds.
DELIVERY_KEY_LEAD = env.number("DMR_DELIVERY_KEY_LEAD_SECONDS", 3600, 600, 30 * 24 * 3600)
DELIVERY_KEY_OVERLAP = env.number("DMR_DELIVERY_KEY_OVERLAP_SECONDS", 24 * 3600, 3600, 365 * 24 * 3600)

# -- keys of participants --
# For how long a key that its participant has replaced goes on working, unless it says otherwise: in seconds.
KEY_OVERLAP = env.number("DMR_KEY_OVERLAP_SECONDS", 7 * 24 * 3600, 60, 90 * 24 * 3600)

# -- agents --
CHECK_IN_SECONDS = env.number("DMR_CHECK_IN_SECONDS", 30, 1, 3600)
CHECK_IN_GRACE_SECONDS = env.number("DMR_CHECK_IN_GRACE_SECONDS", 15, 1, 3600)

# -- database --
_database_url = env.url(
    "DATABASE_URL",
    "",
    ("postgres", "postgresql"),
    "postgres://dmr:…@localhost/dmr; leave it unset for SQLite",
    needs_host=False,  # postgres:///dmr is the server of this machine
)
USES_SQLITE = not _database_url
DATABASES: dict[str, Any] = {}
if USES_SQLITE:
    env.make_folder("DMR_DATA_DIR", DATA_DIR)
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "dmr.sqlite3",
        "CONN_MAX_AGE": 600,
        "OPTIONS": {
            "timeout": 20,
            # A transaction takes the write lock when it begins: none fails in the middle for want of it.
            "transaction_mode": "IMMEDIATE",
            # FULL, because 202 means stored, also when the power goes.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
        },
    }
else:
    DATABASES["default"] = dj_database_url.parse(_database_url, conn_max_age=600, conn_health_checks=True)
    DATABASES["default"]["ENGINE"] = "dmr_project.lib.postgresql"
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
    DATABASES["default"]["OPTIONS"].setdefault("server_side_binding", True)
    # Of a server that is gone without a word, its machine lost or a link cut, the system alone tells us after a
    # quarter of an hour where we have said something, and after two hours where we wait.
    for _name, _value in (
        ("keepalives_idle", 10),  # seconds, as the next one
        ("keepalives_interval", 5),
        ("keepalives_count", 3),
        ("tcp_user_timeout", 20_000),  # ms
    ):
        DATABASES["default"]["OPTIONS"].setdefault(_name, _value)
    # Statements that repeat are parsed and planned once a connection. A pooler that hands a connection from one
    # client to the next in each transaction can't have that: prepare_threshold=none; see docs/settings.md.
    _options = DATABASES["default"]["OPTIONS"]
    _options.setdefault("prepare_threshold", 5)
    if _options["prepare_threshold"] == "none":
        _options["prepare_threshold"] = None
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- broker and cache --
REDIS_URL = env.url(
    "REDIS_URL", "", ("redis", "rediss"), "redis://localhost/0; leave it unset for an embedded broker"
)
BROKER_DIR = DATA_DIR / "broker"
CACHES: dict[str, Any]
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "dmr",
            "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
        }
    }
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": DATA_DIR / "cache",
        }
    }

CELERY_BROKER_URL = REDIS_URL or "filesystem://localhost/"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any]
if REDIS_URL:
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "global_keyprefix": "dmr:",
        "socket_timeout": 5,
        "socket_connect_timeout": 1,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(BROKER_DIR / "queue"),
        "data_folder_out": str(BROKER_DIR / "queue"),
        "control_folder": str(BROKER_DIR / "control"),
        "polling_interval": 0.1,
    }
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = 1
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = queues.MAINTENANCE
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_ENABLE_UTC = True
# In memory: what it would keep are the last runs of jobs that repeat within seconds anyway.
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5

# -- applications --
INSTALLED_APPS = [
    "dmr_project.apps.Wiring",  # marks what is translated, before forms copy it
    "django.contrib.auth",
    "staff",  # its templates stand before the theme's, and those before Django's
    "unfold.apps.BasicAppConfig",
    "staff.site.Admin",  # django.contrib.admin, with our site
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_prometheus",
    "rest_framework",
    "drf_spectacular",
    "participants",
    "relay",
    "updates",
    "observability",
]
MIDDLEWARE = [
    "dmr_project.middleware.VersionHeader",
    "dmr_project.middleware.ProxyAddress",
    "dmr_project.pages.Measured",
    "django.middleware.security.SecurityMiddleware",
    "dmr_project.pages.Files",
    "dmr_project.middleware.Problems",
    "dmr_project.pages.Common",
    "dmr_project.pages.Sessions",
    "dmr_project.pages.Languages",
    "dmr_project.pages.Csrf",
    "dmr_project.pages.Users",
    "dmr_project.pages.Messages",
    "staff.middleware.Sessions",
    "dmr_project.pages.Frames",
    "dmr_project.pages.MeasuredInside",
]
ROOT_URLCONF = "dmr_project.urls"
WSGI_APPLICATION = "dmr_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LANGUAGE_CODE = "en"
TIME_ZONE = "Europe/Tallinn"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["dmr_project.formats"]
STATIC_URL = f"{PATH_PREFIX}/static/"
WHITENOISE_USE_FINDERS = True  # served from where the packages have them: nothing to collect
WHITENOISE_AUTOREFRESH = False
LOCALE_PATHS = [BASE_DIR / "dmr_project" / "locale"]
LANGUAGES = [("et", "Eesti"), ("en", "English")]
# Of mails to staff who have chosen none in the admin.
STAFF_LANGUAGE = env.choice("DMR_STAFF_LANGUAGE", ("en", "et"))
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600

# -- the admin's theme; see docs/adr/0015-admin-theme.md --
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "DMR",
    "SITE_HEADER": "DMR",
    "SITE_SUBHEADER": "Distributed Message Rooms",
    "SITE_SYMBOL": "hub",
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": ["staff.navigation.stylesheet"],
    "SCRIPTS": ["staff.navigation.script"],
    "DASHBOARD_CALLBACK": "observability.admin.today.add",
    "COLORS": {
        # Text on each of these, and these on their grounds, has a contrast of 4.5 or more.
        "primary": {
            "50": "oklch(97% .014 254.6)",
            "100": "oklch(93.2% .032 255.6)",
            "200": "oklch(88.2% .059 254.1)",
            "300": "oklch(80.9% .105 251.8)",
            "400": "oklch(74% .14 254)",
            "500": "oklch(69% .165 256)",
            "600": "oklch(48.8% .2 262)",
            "700": "oklch(43% .19 263)",
            "800": "oklch(38% .17 264)",
            "900": "oklch(33% .14 265)",
            "950": "oklch(28.2% .091 267.9)",
        },
        "font": {"subtle-light": "var(--color-base-600)", "subtle-dark": "var(--color-base-300)"},
    },
}

# -- mail --
_mail = mail_server.parse(
    env.url(
        "DMR_EMAIL_URL",
        "" if IS_PRODUCTION else "console:",
        mail_server.SCHEMES,
        "smtp://user:password@mail.example.ee:587/?tls=starttls",
        needs_host=False,
    ),
    DATA_DIR / "mail",
)
EMAIL_IS_SET = _mail.is_set  # without it, mails wait in the outbox
EMAIL_BACKEND = _mail.backend
EMAIL_HOST, EMAIL_PORT = _mail.host, _mail.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.user, _mail.password
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.starttls, _mail.implicit_tls
EMAIL_FILE_PATH = str(_mail.folder)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = mail_server.sender(f"dmr@{_public.hostname}")
EMAIL_TIMEOUT = 5  # seconds; a mail server that hangs is a mail server that is down
# Where the console stands for a mail server, somebody must be addressed; staff with an e-mail address are besides.
MANAGERS = [] if IS_PRODUCTION or _mail.host else [("Core", "core@localhost")]

# -- security --
# The Host header of a direct call is a participant's business: our own links come from DMR_PUBLIC_URL.
ALLOWED_HOSTS = ["*"] if not IS_PRODUCTION else [str(_public.hostname), HOST, "localhost", "127.0.0.1"]
USE_X_FORWARDED_HOST = False
FORCE_SCRIPT_NAME = PATH_PREFIX or None
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = LANGUAGE_COOKIE_PATH = PATH_PREFIX or "/"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # of JSON and forms; a message's payload has its room's limit
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = SESSION_HOURS * 3600
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
# No redirect to https by us (W008): a client that is redirected has sent its key in the clear already, and
# POSTs do not survive a redirect. The proxy that ends TLS redirects browsers; see docs/operations.md.
# Middleware that Django looks for by its own names (W002, W003) is there under ours: see dmr.E005.
SILENCED_SYSTEM_CHECKS = ["security.W008", "security.W002", "security.W003"]
if IS_PRODUCTION:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["dmr_project.lib.formats.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "dmr_project.lib.formats.OneRenderer",
    "DEFAULT_SCHEMA_CLASS": "dmr_project.lib.schema.DescribedOperation",
    "EXCEPTION_HANDLER": "dmr_project.lib.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "DMR, Distributed Message Rooms",
    "DESCRIPTION": "The relay between Bürokratt's chatbots, and the registry of who takes part.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "format": "uuid"}},
    "POSTPROCESSING_HOOKS": ["dmr_project.lib.schema.describe_problems"],
}

# -- metrics: every process writes files here, /metrics adds them up --
METRICS_DIR = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "") or DATA_DIR / "metrics")
PROMETHEUS_EXPORT_MIGRATIONS = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"event": {"()": "dmr_project.lib.log.EventFormatter", "as_json": IS_PRODUCTION}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "event"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"level": "INFO", "handlers": ["console"], "propagate": False},
        "django.request": {"level": "ERROR"},
        "django.security": {"level": "ERROR"},
        # A traceback for each odd Host header, which anybody can send; the 400 that answers it says enough.
        "django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False},
        "celery": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
    },
}
