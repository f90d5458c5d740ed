import sys; sys.path.insert(0,'/work/main')
from tests.manifest_data import *
from drimbox import kos
import io, time, tracemalloc, pydicom, highdicom, subprocess, resource
b=kos.write_manifest(manifest(),SETTINGS);
assert b==kos.write_manifest(manifest(),SETTINGS)
ds=pydicom.dcmread(io.BytesIO(b))
no=manifest(study(series=study().series[:3])); ds=pydicom.dcmread(io.BytesIO(kos.write_manifest(no,SETTINGS)))
ko=highdicom.ko.KeyObjectSelectionDocument.from_dataset(ds)

open('/tmp/k.dcm','wb').write(b)
print(subprocess.run(['dsrdump','/tmp/k.dcm'],capture_output=True,text=True,errors='replace'))
print(subprocess.run(['dcmdump','-q','/tmp/k.dcm'],capture_output=True,text=True,errors='replace').stderr)
s=large_study(3000)
for i in range(3):
    t=time.perf_counter(); m=manifest(s); b=kos.write_manifest(m,SETTINGS); print(time.perf_counter()-t,len(b))
tracemalloc.start(); b=kos.write_manifest(manifest(s),SETTINGS); print(tracemalloc.get_traced_memory())
open('/work/main/.k.dcm','wb').write(kos.write_manifest(manifest(),SETTINGS))
