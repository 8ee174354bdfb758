"""The wheel, in an empty environment, and the examples of the README as they stand."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import venv
import zipfile

from support import HERE, RealServer

PACKAGE = HERE.parent
BLOCKS = re.findall(r"^```python\n(.*?)^```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RealServer(app_stage="live")
        cls.addClassCleanup(cls.server.stop)
        flag = {"type": "boolean", "variants": {"on": True, "no": False}, "default_variant": "on", "off_variant": "no", "rules": []}
        cls.server.request("POST", "/api/v1/flags", {"key": "new-player", **flag})
        sides = {"type": "string", "variants": {"old": "old", "new": "new"}, "default_variant": "old", "off_variant": "old", "rules": []}
        cls.server.request("POST", "/api/v1/flags", {"key": "billing-allocation", **sides})
        cls.server.serve("greeting", "Kia ora")
        cls.server.serve("invoices-stage", "dualwrite")
        cls.server.request("PUT", "/api/v1/gates/invoice-mailer", {"single_instance": True})
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.directory = pathlib.Path(directory.name)

    def python(self, program, code, **environment):
        base = {name: value for name, value in os.environ.items() if not name.startswith(("CHANGEOVER_", "PYTHON"))}
        server = {"CHANGEOVER_URL": self.server.url, "CHANGEOVER_TOKEN": self.server.admin_token}
        done = subprocess.run(
            [program, "-W", "error", "-c", code], env={**base, **server, **environment}, cwd=self.directory, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, f"{code}\n{done.stdout}{done.stderr}")
        return done.stdout

    def test_the_wheel_installs_into_an_empty_environment_and_the_first_lines_work(self):
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(self.directory), str(PACKAGE)],
            check=True, capture_output=True, env={**os.environ, "PYTHONPATH": ""})
        [wheel] = self.directory.glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        self.assertIn("changeover/py.typed", names)
        self.assertFalse([name for name in names if not name.startswith("changeover")], names)
        venv.create(self.directory / "empty", with_pip=False, symlinks=True)
        python = str(self.directory / "empty" / "bin" / "python")
        site = self.python(python, "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--target", site, str(wheel)], check=True)
        printed = self.python(python, BLOCKS[0]).splitlines()
        self.assertEqual(printed[0], "the new player")
        self.assertIn("value='Kia ora'", printed[1])
        self.assertTrue((self.directory / "flags.json").exists())

    def test_the_other_examples_work(self):
        printed = []
        for block in BLOCKS[1:]:
            code = f"from changeover import AsyncClient, Client\nclient = Client()\n{block}"
            printed.append(self.python(sys.executable, code, PYTHONPATH=str(PACKAGE / "src")))
        self.assertEqual(printed[0], "Kia ora v STATIC None\n")
        self.assertIn("greeting Kia ora v\n", printed.pop(1))
        self.assertEqual(printed[1:3], ["True\n", "True\n"])
        self.assertEqual(printed[3], "{'total': 13}\n")
        self.assertRegex(printed[4], r"1 old\n2 old\n\[Part\(.*\)\]\nrow_differs \[")
        self.assertRegex(printed[6], r"mailed 1 \d+\nmailed 2 \d+\nmailed 3 \d+\n")


if __name__ == "__main__":
    unittest.main()
