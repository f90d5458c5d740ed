import sys; sys.path.insert(0,'/work/main')
from tests.manifest_data import *
import cProfile
s=large_study(3000); m=manifest(s)
cProfile.run("kos.write_manifest(m,SETTINGS)",sort='tottime')
