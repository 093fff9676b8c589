# `cpack` in a build directory makes a Debian package of what is installed.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME jailrun)
set(CPACK_PACKAGE_CONTACT "the jailrun project <jailrun@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "jails for model-written code, ready before they are asked for")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# The image is built on the machine that uses it.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd, python3")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "mmdebstrap, python3-pip, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/tools/debian/postinst
    ${CMAKE_SOURCE_DIR}/tools/debian/prerm ${CMAKE_SOURCE_DIR}/tools/debian/postrm
    ${CMAKE_SOURCE_DIR}/tools/debian/conffiles)
# Into /etc whatever the prefix is, and only into a package: an installation by hand leaves /etc alone.
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/cmake/package_config.cmake)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
