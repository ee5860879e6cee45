"""Settings: where they come from, what wins, and that every fault is told at once without telling a secret."""

import stat
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from paystate.machinery.secrets import KeyRing, Secret, generate_key_text
from paystate.machinery.setting_values import RateLimit
from paystate.machinery.settings import Settings, SettingsFaults, load_settings, settings_table

KEY = generate_key_text()
POSTGRES = "postgresql://paystate:TOPSECRET@db.example/paystate"


@pytest.fixture
def load(tmp_path):
    """Loads with short names: ``load(port="1")`` is PAYSTATE_PORT=1."""

    def loaded(**given: str) -> Settings:
        named = {f"PAYSTATE_{name.upper()}": value for name, value in given.items()}
        return load_settings({"PATH": "/bin", "PAYSTATE_DATA_DIR": str(tmp_path), **named})

    return loaded


@pytest.fixture
def faults(load):
    def found(**given: str) -> dict[str, str]:
        with pytest.raises(SettingsFaults) as raised:
            load(**given)
        assert all(
            name in str(raised.value) and sentence in str(raised.value)
            for name, sentence in raised.value.faults
        )
        return dict(raised.value.faults)

    return found


def row(settings: Settings, name: str):
    return next(row for row in settings_table(settings) if row.name == name)


def test_without_any_setting_it_works(load, tmp_path):
    settings = load()
    assert settings.env == "development"
    assert settings.database_url.reveal() == f"sqlite:///{tmp_path}/paystate.db"
    assert settings.is_sqlite
    assert settings.public_url == "http://127.0.0.1:8420"
    assert settings.trusted_hosts == ("127.0.0.1", "localhost", "::1")
    assert settings.polling_rate_limit == RateLimit(300, 900)
    assert settings.key_ring.open(settings.key_ring.seal(b"x", aad="a"), aad="a") == b"x"


def test_every_field_explains_itself():
    for field, info in Settings.model_fields.items():
        assert (info.description or "").endswith("."), field


def test_settings_do_not_change(load):
    with pytest.raises(ValidationError):
        load().port = 1


def test_texts_become_values(load):
    settings = load(
        port="80",
        trusted_proxies="10.0.0.0/8, 192.168.1.1,::1",
        alert_emails="a@example.com,b@Example.com",
        refuse_card_numbers="false",
        api_rate_limit="5/1",
        public_url="https://Pay.Example.com/",
        default_region="ZA",
        payment_cleanup_cron="0 10 * * 1-5",
        time_zone="Africa/Johannesburg",
        trusted_hosts="a.example,b.example",
    )
    assert settings.port == 80
    assert settings.trusted_proxies == tuple(
        ip_network(n) for n in ("10.0.0.0/8", "192.168.1.1/32", "::1/128")
    )
    assert settings.alert_emails == ("a@example.com", "b@example.com")
    assert settings.refuse_card_numbers is False
    assert settings.api_rate_limit == RateLimit(5, 1)
    assert settings.public_url == "https://pay.example.com"
    assert settings.trusted_hosts == ("a.example", "b.example")


def test_trusted_hosts_follow_the_public_address(load):
    assert load(public_url="https://pay.example.com").trusted_hosts[0] == "pay.example.com"


def test_an_empty_variable_counts_as_absent(load):
    assert load(port="", cron_secret="", nonsense="").port == 8420


def test_secrets_are_typed_and_hidden(load):
    settings = load(cron_secret="TOPSECRET" * 4, secret_key=KEY, database_url=POSTGRES)
    assert isinstance(settings.cron_secret, Secret)
    shown = f"{settings!r} {settings} {settings_table(settings)} {settings.key_ring!r}"
    assert "TOPSECRET" not in shown
    assert KEY not in shown
    assert row(settings, "PAYSTATE_CRON_SECRET").value == "***"
    assert row(settings, "PAYSTATE_SECRET_KEY").value == "***"
    assert row(settings, "PAYSTATE_DATABASE_URL").value == "postgresql://paystate:***@db.example/paystate"


@pytest.mark.parametrize(
    "url", ["postgresql://u:TOP@SECRET@h/n", "postgresql://h/n?user=u&password=TOPSECRET&x=1"]
)
def test_a_password_hides_wherever_it_stands_in_the_address(load, url):
    value = row(load(database_url=url, secret_key=KEY), "PAYSTATE_DATABASE_URL").value
    assert "SECRET" not in value
    assert "***" in value


# --- sources ------------------------------------------------------------------------------------------------


def test_a_value_from_a_file_named_by_the_environment(load, tmp_path):
    (tmp_path / "cron").write_text("s" * 40 + "\n")
    settings = load(cron_secret_file=str(tmp_path / "cron"))
    assert settings.cron_secret == Secret("s" * 40)
    assert row(settings, "PAYSTATE_CRON_SECRET").source == f"environment (file {tmp_path}/cron)"


def test_log_file_is_a_setting_of_its_own(load, tmp_path):
    assert load(log_file=str(tmp_path / "x.log")).log_file == tmp_path / "x.log"


def test_the_environment_wins_over_the_file(load, tmp_path):
    (tmp_path / "paystate.toml").write_text(
        'port = 1000\nhost = "0.0.0.0"\ntrusted_hosts = ["a.example"]\nrefuse_card_numbers = false\n'
    )
    settings = load(port="2000")
    assert (settings.port, settings.host, settings.trusted_hosts) == (2000, "0.0.0.0", ("a.example",))
    assert row(settings, "PAYSTATE_PORT").source == "environment"
    assert row(settings, "PAYSTATE_HOST").source == "paystate.toml"
    assert row(settings, "PAYSTATE_LOG_LEVEL").source == "default"
    assert row(settings, "PAYSTATE_PORT").default == "8420"


def test_the_command_line_chooses_the_data_directory(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "paystate.toml").write_text("port = 7\n")
    settings = load_settings({"PAYSTATE_DATA_DIR": str(tmp_path / "a")}, data_dir_override=tmp_path / "b")
    assert (settings.data_dir, settings.port) == (tmp_path / "b", 7)
    assert not (tmp_path / "a").exists()


def test_the_default_data_directory_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).data_dir == tmp_path / "paystate-data"


def test_names_for_tests_and_connections_are_left_alone(load):
    assert load(test_anything="1", connection_paystack_secret_key="sk", aliases="0").port == 8420


def test_names_of_other_systems_are_read_only_by_opting_in(tmp_path):
    environ = {
        "PAYSTATE_DATA_DIR": str(tmp_path),
        "CRON_SECRET": "c" * 32,
        "PAYMENT_CLEANUP_INTERVAL_MINUTES": "45",
    }
    assert load_settings(environ).cron_secret is None
    settings = load_settings({**environ, "PAYSTATE_ALIASES": "1"})
    assert settings.cron_secret == Secret("c" * 32)
    assert settings.payment_cleanup_interval_minutes == 45
    assert row(settings, "PAYSTATE_CRON_SECRET").source == "environment (CRON_SECRET)"
    ours = load_settings(
        {**environ, "PAYSTATE_ALIASES": "1", "PAYSTATE_PAYMENT_CLEANUP_INTERVAL_MINUTES": "50"}
    )
    assert ours.payment_cleanup_interval_minutes == 50


# --- faults -------------------------------------------------------------------------------------------------


def test_all_faults_are_told_at_once(faults):
    found = faults(
        port="99999", prot="1", time_zone="../etc", env="production", failpoints="a=kill", database_url=POSTGRES,
        api_rate_limit="many",
    )  # fmt: skip
    assert set(found) == {
        "PAYSTATE_PORT", "PAYSTATE_PROT", "PAYSTATE_TIME_ZONE", "PAYSTATE_FAILPOINTS", "PAYSTATE_SECRET_KEY",
        "PAYSTATE_API_RATE_LIMIT",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("PROT", "PAYSTATE_PORT"),
        ("PUBLIC_URI", "PAYSTATE_PUBLIC_URL"),
        ("CRON_SECRT_FILE", "PAYSTATE_CRON_SECRET"),
    ],
)
def test_an_unknown_name_is_a_fault_with_the_nearest_one(faults, wrong, right):
    assert f"did you mean {right}?" in faults(**{wrong: "1"})[f"PAYSTATE_{wrong}"]


def test_a_name_like_nothing_is_just_unknown(faults):
    assert faults(zzzzzzzz="1")["PAYSTATE_ZZZZZZZZ"].startswith("There is no such setting (")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("env", "staging"), ("port", "0"), ("port", "x"), ("public_url", "pay.example.com"), ("public_url", "ftp://x"),
        ("public_url", "https://x/path"), ("public_url", "https://a:b@x"), ("database_url", "mysql://x"),
        ("database_url", "sqlite://"), ("database_url", "sqlite:///:memory:"), ("cron_secret", "short"),
        ("secret_key", "changeme"), ("trusted_proxies", "10.0.0.1/8"), ("allow_private_addresses", "localhost"),
        ("log_format", "xml"), ("log_level", "loud"), ("time_zone", "Mars/Base"), ("time_zone", "/etc/passwd"),
        ("payment_cleanup_cron", "hourly"), ("payment_cleanup_cron", "* * * * * *"), ("payment_cleanup_cron", "99 * * * *"),
        ("polling_rate_limit", "300"), ("polling_rate_limit", "0/900"), ("polling_rate_limit", "-1/1"),
        ("default_region", "za"), ("alert_emails", "nobody"), ("support_email", "a@b"), ("verify_batch", "0"),
        ("refuse_card_numbers", "perhaps"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_a_fault_of_its_setting(faults, name, value):
    assert set(faults(**{name: value})) == {f"PAYSTATE_{name.upper()}"}


@pytest.mark.parametrize("name", ["secret_key", "cron_secret", "database_url"])
def test_a_fault_never_repeats_a_secret(load, name):
    with pytest.raises(SettingsFaults) as raised:
        load(**{name: "TOPSECRET"})
    assert "TOPSECRET" not in f"{raised.value} {raised.value!r} {raised.value.faults}"
    assert raised.value.__cause__ is None


def test_production_refuses_failpoints_and_tests_do_not(load, faults):
    assert "PAYSTATE_FAILPOINTS" in faults(env="production", failpoints="a=kill")
    assert load(env="test", failpoints="a=kill").failpoints == "a=kill"


def test_a_value_given_twice_is_a_fault(faults, tmp_path):
    (tmp_path / "host").write_text("0.0.0.0")
    assert "twice" in faults(host="127.0.0.1", host_file=str(tmp_path / "host"))["PAYSTATE_HOST_FILE"]


def test_a_missing_file_is_a_fault(faults, tmp_path):
    assert "cannot be read" in faults(cron_secret_file=str(tmp_path / "none"))["PAYSTATE_CRON_SECRET_FILE"]


@pytest.mark.parametrize("text", ["port = ", "port = 1\nport = 2", "\xff", "x" * 70_000])
def test_a_broken_settings_file_is_a_fault(faults, tmp_path, text):
    (tmp_path / "paystate.toml").write_bytes(text.encode("latin-1"))
    assert set(faults()) == {"paystate.toml"}


def test_unknown_and_misplaced_entries_of_the_file_are_faults(faults, tmp_path):
    (tmp_path / "paystate.toml").write_text('prot = 1\ndata_dir = "/x"\n[port]\na = 1\n')
    assert set(faults()) == {"PAYSTATE_PROT", "paystate.toml", "PAYSTATE_PORT"}


# --- the key ------------------------------------------------------------------------------------------------


def test_the_first_start_makes_a_key_and_the_next_finds_it(load, tmp_path):
    first, second = load(), load()
    assert first.secret_key == second.secret_key
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.key"]
    assert row(first, "PAYSTATE_SECRET_KEY").source == f"{tmp_path}/secret.key"


def test_a_given_key_makes_none(load, tmp_path):
    assert load(secret_key=KEY).secret_key == Secret(KEY)
    assert not list(tmp_path.iterdir())


def test_faults_make_no_key(faults, tmp_path):
    faults(port="x")
    assert not list(tmp_path.iterdir())


def test_a_key_others_can_read_is_a_fault(load, faults, tmp_path):
    load()
    (tmp_path / "secret.key").chmod(0o640)
    assert "chmod 600" in faults()["PAYSTATE_SECRET_KEY"]


def test_a_damaged_key_is_a_fault(load, faults, tmp_path):
    load()
    (tmp_path / "secret.key").write_text("\0" * 32)
    assert "PAYSTATE_SECRET_KEY" in faults()


def test_a_database_whose_key_is_gone_is_a_fault_and_gets_no_new_key(faults, tmp_path):
    (tmp_path / "paystate.db").write_bytes(b"x")
    assert "put it back" in faults()["PAYSTATE_SECRET_KEY"]
    assert not (tmp_path / "secret.key").exists()


def test_a_data_directory_that_cannot_be_made_is_a_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsFaults) as raised:
        load_settings({}, data_dir_override=tmp_path / "file" / "data")
    assert [name for name, _ in raised.value.faults]


def test_starts_that_race_get_the_same_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = list(
            pool.map(lambda _: load_settings({}, data_dir_override=tmp_path / "new").secret_key, range(16))
        )
    assert len(set(keys)) == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["secret.key"]


def test_postgresql_needs_a_shared_key(load, faults):
    assert "required" in faults(database_url=POSTGRES)["PAYSTATE_SECRET_KEY"]
    settings = load(database_url=POSTGRES, secret_key=f"new:{KEY}")
    assert not settings.is_sqlite
    assert isinstance(settings.key_ring, KeyRing)
    assert settings.key_ring.current == "new"
