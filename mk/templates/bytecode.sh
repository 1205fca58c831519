# What Python left beside the modules.
rm -f /opt/xensource/sm/RELVMoISCSISR.py[co] /opt/xensource/sm/RELVMoHBASR.py[co]
rm -f /opt/xensource/sm/relvm/*.py[co] /opt/xensource/sm/relvm/*/*.py[co]
rm -f /opt/xensource/sm/__pycache__/RELVMoISCSISR.*.py[co] /opt/xensource/sm/__pycache__/RELVMoHBASR.*.py[co]
rm -rf /opt/xensource/sm/relvm/__pycache__ /opt/xensource/sm/relvm/*/__pycache__
rmdir /opt/xensource/sm/__pycache__ 2>/dev/null || :
